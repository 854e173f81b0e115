import { AnalyticsBrowser } from '@segment/analytics-next'

let analytics
globalThis.start = async () => {
  analytics = AnalyticsBrowser.load({ writeKey: process.env.KEY, cdnURL: process.env.URL })
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
