// An application with Segment's SDK: makes the calls it is given, and tells line by line on stdout
// what the SDK says about them.
import { text } from 'node:stream/consumers'
import { Analytics } from '@segment/analytics-node'

const tell = (line, told) => process.stdout.write(`${JSON.stringify(line)}\n`, told)
const { url, key, calls, options } = JSON.parse(await text(process.stdin))

const analytics = new Analytics({ writeKey: key, host: url, ...options })
analytics.on('error', (error) => tell({ said: 'error', reason: String(error.reason ?? error) }))
analytics.on('http_request', ({ body }) => tell({ said: 'request', body: JSON.parse(body) }))
analytics.on('http_response', ({ status }) => tell({ said: 'response', status }))

calls.forEach(({ method, timestamp, ...members }, call) => {
  const time = timestamp === undefined ? {} : { timestamp: new Date(timestamp) }
  analytics[method]({ ...members, ...time }, (error, context) =>
    tell({ said: 'delivered', call, error: error ? String(error) : null, event: context.event }),
  )
})
await analytics.closeAndFlush()
// The SDK leaves the bodies of answers unread: one of 250 results would hold the process for half a
// minute, until its connection is collected as garbage. So it exits, once its last word is out.
tell({ said: 'closed' }, () => process.exit())
