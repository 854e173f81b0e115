// Without a request for the settings: the page brings them.
import { AnalyticsBrowser } from '@segment/analytics-next'

let analytics
globalThis.start = async () => {
  const { host, protocol } = new URL(process.env.URL)
  const segment = { apiKey: process.env.KEY, apiHost: `${host}/v1`, protocol: protocol.slice(0, -1) }
  const cdnSettings = { integrations: { 'Segment.io': segment } }
  analytics = AnalyticsBrowser.load({ writeKey: process.env.KEY, cdnSettings })
  await analytics
}
globalThis.make = ({ method, userId, previousId, groupId, event, name, properties, traits }) =>
  ({
    track: () => analytics.track(event, properties),
    identify: () => analytics.identify(userId, traits),
    page: () => analytics.page(name, properties),
    screen: () => analytics.screen(name, properties),
    group: () => analytics.group(groupId, traits),
    alias: () => analytics.alias(userId, previousId),
  })[method]()
