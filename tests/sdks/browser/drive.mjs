// Opens a page that sends with one of the SDKs for browsers. Driver of tests/sdks/driver.py.
//
// The page comes from another origin than Forebay: another port of this host. Its program is
// pages/<client>.mjs or, if there is one, `program` of the input: it is bundled as users bundle it,
// with `process.env.URL` and `process.env.KEY` replaced. The argument is the path of Chromium.
import { createServer } from 'node:http'
import { createInterface } from 'node:readline'
import { build } from 'esbuild'
import { chromium } from 'playwright-core'

const HOST = '127.0.0.1'
// Chromium must connect to nothing but the page and Forebay.
const FLAGS = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
]

const say = (line, then) => process.stdout.write(`${JSON.stringify(line)}\n`, then)
const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]()
const line = async () => (await lines.next()).value
const { url, key, client, calls, program } = JSON.parse(await line())

const source = program ?? `export * from './pages/${client}.mjs'`
const { outputFiles } = await build({
  stdin: { contents: `${source}\nglobalThis.hasLoaded = true`, resolveDir: import.meta.dirname },
  bundle: true,
  write: false,
  format: 'esm',
  logLevel: 'error',
  define: { 'process.env.URL': JSON.stringify(url), 'process.env.KEY': JSON.stringify(key) },
})
const files = {
  '/': ['text/html', '<!doctype html><title>page</title><link rel="icon" href="data:,"><script type="module" src="/page.js"></script>'],
  '/page.js': ['text/javascript', outputFiles[0].text],
}
const server = createServer((request, response) => {
  const [type, text] = files[request.url] ?? []
  response.writeHead(type ? 200 : 404, { 'content-type': type ?? 'text/plain' }).end(text)
})
await new Promise((resolve) => server.listen(0, HOST, resolve))

const browser = await chromium.launch({ executablePath: process.argv[2], args: FLAGS })
const close = async () => {
  await browser.close()
  process.exit()
}
process.once('SIGTERM', close)

const page = await browser.newPage()
const shown = (address) => new URL(address).pathname.replace(key, '<key>')
page.on('console', (message) => {
  if (['error', 'warning'].includes(message.type())) say({ said: 'error', reason: message.text() })
})
page.on('pageerror', (error) => say({ said: 'error', reason: String(error) }))
page.on('response', (response) => {
  if (!response.url().startsWith(url)) return
  const method = response.request().method()
  say({ said: 'response', method, path: shown(response.url()), status: response.status() })
})
page.on('requestfailed', (request) => {
  const { host } = new URL(request.url())
  say({ said: 'unanswered', host, path: shown(request.url()), reason: request.failure()?.errorText })
})

await page.goto(`http://${HOST}:${server.address().port}/`)
await page.waitForFunction('globalThis.hasLoaded')
const failed = await page.evaluate(() => globalThis.start?.().then(() => null, String))
if (failed) say({ said: 'error', reason: failed })
say({ said: 'ready' })
await line()
await page.evaluate((all) => all.forEach((call) => globalThis.make(call)), calls)
say({ said: 'called' })
await line()
say({ said: 'closed' }, close)
