// Without a source configuration the SDK is never ready.
const READY_TIMEOUT_MS = 5000

export const sender = (analytics) => ({
  start: () =>
    new Promise((resolve, reject) => {
      analytics.load(process.env.KEY, process.env.URL, { configUrl: process.env.URL })
      analytics.ready(() => resolve())
      setTimeout(() => reject(new Error('the SDK is not ready')), READY_TIMEOUT_MS)
    }),
  make: ({ method, userId, previousId, groupId, event, name, properties, traits }) =>
    ({
      track: () => analytics.track(event, properties),
      identify: () => analytics.identify(userId, traits),
      page: () => analytics.page(name, properties),
      group: () => analytics.group(groupId, traits),
      alias: () => analytics.alias(userId, previousId),
    })[method](),
})
