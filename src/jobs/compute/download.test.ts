import assert from 'node:assert/strict'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { createServer, type RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { silentProgress } from '#base'
import { checkUrl, download } from './download.ts'

type World = Readonly<{ port: number; fetch: (url: string, reach?: () => boolean) => Promise<string>; target: string }>

/** A server on this host, which `reach` has to allow. */
async function withServer(answer: RequestListener, use: (world: World) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'hf-download-'))
  const server = createServer(answer)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  const target = join(folder, 'image')
  const fetch = async (url: string, reach: () => boolean = () => true): Promise<string> => {
    const urlFile = join(folder, 'url')
    await writeFile(urlFile, `${url}\n`)
    await rm(target, { force: true })
    const how = {
      pool: { path: folder, reserveBytes: 0 },
      signal: AbortSignal.timeout(20_000),
      progress: silentProgress,
      reach,
    }
    return download({ urlFile, hosts: [`127.0.0.1:${port}`] }, target, how)
  }
  try {
    await use({ port, fetch, target })
  } finally {
    server.closeAllConnections()
    await new Promise((resolve) => server.close(resolve))
    await rm(folder, { recursive: true })
  }
}

test('checkUrl() takes http and https URLs of listed hosts, by name or by name and port', () => {
  assert.equal(checkUrl('https://Files.example/a?sig=1', ['files.EXAMPLE']).hostname, 'files.example')
  assert.equal(checkUrl('http://files.example:8080/a', ['files.example:8080']).port, '8080')
  for (const bad of [
    'ftp://files.example/a',
    'https://files.example.evil/a',
    'https://evil/files.example',
    'https://user:secret@files.example/a',
    'files.example/a',
    '',
  ])
    assert.throws(() => checkUrl(bad, ['files.example']), { code: 'import_refused' }, bad)
})

test('download() fetches what is there, by way of allowed redirects', async () => {
  const data = Buffer.from(Array.from({ length: 100_000 }, (_, index) => (index * 7 + (index >> 8)) & 0xff))
  await withServer(
    (request, response) => {
      if (request.url === '/moved') response.writeHead(302, { location: '/here/disk.vhd' }).end()
      else response.end(data)
    },
    async ({ port, fetch, target }) => {
      assert.equal(await fetch(`http://127.0.0.1:${port}/moved`), '/here/disk.vhd')
      assert.deepEqual(await readFile(target), data)
    },
  )
})

test('download() refuses an address that is not allowed, a redirect to another host, and endless ones', async () => {
  await withServer(
    (request, response) => {
      const location = request.url === '/loop' ? '/loop' : 'http://169.254.169.254/latest/meta-data'
      response.writeHead(301, { location }).end()
    },
    async ({ port, fetch }) => {
      await assert.rejects(
        fetch(`http://127.0.0.1:${port}/a`, () => false),
        { code: 'import_refused' },
      )
      await assert.rejects(fetch(`http://127.0.0.1:${port}/a`), { code: 'import_refused', message: /169\.254/ })
      await assert.rejects(fetch(`http://127.0.0.1:${port}/loop`), { code: 'import_refused', message: /leads on/ })
    },
  )
})

test('download() says so when the file is not there or ends early', async () => {
  await withServer(
    (request, response) => {
      if (request.url === '/none') response.writeHead(404).end()
      else response.writeHead(200, { 'content-length': '1000' }).write('only this', () => response.destroy())
    },
    async ({ port, fetch }) => {
      await assert.rejects(fetch(`http://127.0.0.1:${port}/none`), { code: 'disk_not_there' })
      await assert.rejects(fetch(`http://127.0.0.1:${port}/short`), { code: 'disk_not_there', retry: 'later' })
    },
  )
})
