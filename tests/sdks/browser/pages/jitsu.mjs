import { jitsuAnalytics } from '@jitsu/js'

let analytics
globalThis.start = async () => {
  // The SDK refuses a key without a colon.
  analytics = jitsuAnalytics({ host: process.env.URL, writeKey: `${process.env.KEY}:browser` })
}
globalThis.make = ({ method, userId, groupId, event, properties, traits }) =>
  ({
    track: () => analytics.track(event, properties),
    identify: () => analytics.identify(userId, traits),
    page: () => analytics.page(properties),
    group: () => analytics.group(groupId, traits),
  })[method]()
