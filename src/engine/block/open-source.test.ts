import assert from 'node:assert/strict'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, it } from 'node:test'
import type { SourceDescriptor } from './device.ts'
import { identityMap } from './file-map.ts'
import { MemoryDevice } from './memory-device.ts'
import { type NbdServer, serveNbd } from './nbd/server.ts'
import { openSource } from './open-source.ts'
import { stampedBytes } from './sector-stamp.ts'

const SIZE = 1_000_448
const content = stampedBytes({ disk: 5, version: 1 }, 0, SIZE)
const exports = (name: string) => (name === 'd' ? { source: MemoryDevice.from(content) } : undefined)
let folder = ''
const servers: NbdServer[] = []

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'hf-src-'))
  await writeFile(join(folder, 'disk'), content)
  servers.push(await serveNbd({ listen: { socketPath: join(folder, 'nbd') }, exports }))
  servers.push(await serveNbd({ listen: { host: '127.0.0.1', port: 0 }, exports }))
})
after(async () => {
  for (const server of servers) await server.close()
  await rm(folder, { recursive: true })
})

it('openSource() opens the same disk by every kind of descriptor, also after it travelled between threads', async () => {
  const descriptors: readonly SourceDescriptor[] = [
    { kind: 'file', path: join(folder, 'disk'), sizeBytes: SIZE, map: identityMap(SIZE) },
    { kind: 'nbd', socketPath: join(folder, 'nbd'), exportName: 'd' },
    { kind: 'nbd-tcp', host: '127.0.0.1', port: servers[1]?.port ?? 0, exportName: 'd' },
  ]
  for (const descriptor of descriptors) {
    for (const reads of ['sync', 'async'] as const) {
      const source = await openSource(structuredClone(descriptor), { reads })
      assert.equal(source.sizeBytes, SIZE)
      const into = Buffer.alloc(SIZE - 777)
      await source.read(777, into)
      assert.ok(into.equals(content.subarray(777)), descriptor.kind)
      await source.close()
    }
  }
})

it('openSource() says what is not there', async () => {
  const map = identityMap(SIZE)
  const file: SourceDescriptor = { kind: 'file', path: join(folder, 'none'), sizeBytes: SIZE, map }
  await assert.rejects(openSource(file), { code: 'image_not_found' })
  const nbd: SourceDescriptor = { kind: 'nbd', socketPath: join(folder, 'nbd'), exportName: 'other' }
  await assert.rejects(openSource(nbd), { code: 'nbd_export_not_found' })
})
