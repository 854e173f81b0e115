// Sends with one of the SDKs for Node. Driver of tests/sdks/driver.py.
import { createInterface } from 'node:readline'

const say = (line, then) => process.stdout.write(`${JSON.stringify(line)}\n`, then)
const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]()
const line = async () => (await lines.next()).value
const given = JSON.parse(await line())

const makers = {
  '@segment/analytics-node': async () => {
    const { Analytics } = await import('@segment/analytics-node')
    const analytics = new Analytics({ writeKey: given.key, host: given.url })
    analytics.on('error', (error) => say({ said: 'error', reason: String(error.reason ?? error) }))
    return async (calls) => {
      for (const { method, ...members } of calls) analytics[method](members)
      // Its default timeout is 12.5 s, which is shorter than an outage.
      await analytics.closeAndFlush({ timeout: 120_000 })
    }
  },
  '@rudderstack/rudder-sdk-node': async () => {
    const { default: RudderAnalytics } = await import('@rudderstack/rudder-sdk-node')
    const analytics = new RudderAnalytics(given.key, { dataPlaneUrl: given.url })
    return async (calls) => {
      const told = calls.map(
        ({ method, ...members }) =>
          new Promise((resolve) =>
            analytics[method](members, (error) => {
              if (error) say({ said: 'error', reason: String(error) })
              resolve()
            }),
          ),
      )
      // A last batch that is not full is sent after the flush interval of 10 s.
      await Promise.all(told)
    }
  },
}

const send = await makers[given.client]()
say({ said: 'ready' })
await line()
await send(given.calls)
say({ said: 'closed' }, () => process.exit())
