/** Overlays for instant boot, judged by QEMU's own tools. */
import assert from 'node:assert/strict'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { before, describe, it } from 'node:test'
import { type BlockSource, createNbdOverlay, MemoryDevice, serveNbd, stampedBytes } from '#engine/block'
import { endLater, run, testFolder } from './tools.ts'

const MIB = 1024 * 1024
const GIB = 1024 * MIB
const CLUSTER = 256 * 1024
const SIZE = 24 * MIB + 512

let folder = ''
before(async () => {
  folder = await testFolder()
})

async function serve(name: string, source: BlockSource) {
  const socketPath = join(folder, `${name}.nbd`)
  const server = await serveNbd({
    listen: { socketPath },
    exports: () => ({ source, blockBytesPreferred: CLUSTER }),
  })
  endLater(() => server.close())
  return { socketPath, exportName: 'd0', reconnectDelaySeconds: 5 }
}

type MapEntry = { start: number; length: number; zero: boolean; depth: number }

describe('createNbdOverlay()', () => {
  it('reads as what is served, except that what was said to be a hole is zero and never asked for', async () => {
    const bytes = Buffer.from(stampedBytes({ disk: 3, version: 1 }, 0, SIZE))
    const device = new MemoryDevice(SIZE)
    await device.write(0, bytes)
    const backing = await serve('small', device)
    const holes = [
      { offset: CLUSTER, length: 2 * CLUSTER },
      // Only the clusters wholly inside are known to be zero.
      { offset: 5 * MIB - 512, length: MIB + 1024 },
      { offset: SIZE - 512 - CLUSTER, length: CLUSTER + 512 },
    ]
    const path = join(folder, 'small.qcow2')
    await createNbdOverlay(path, backing, SIZE, holes)
    await run('qemu-img', 'check', '-q', '-f', 'qcow2', path)
    bytes.fill(0, CLUSTER, 3 * CLUSTER)
    bytes.fill(0, 5 * MIB, 6 * MIB)
    bytes.fill(0, Math.ceil((SIZE - 512 - CLUSTER) / CLUSTER) * CLUSTER)
    const expected = join(folder, 'small.raw')
    await writeFile(expected, bytes)
    await run('qemu-img', 'compare', '-f', 'raw', '-F', 'qcow2', expected, path)
    // QEMU goes on with it: writes into a zero cluster, into one below, and the tables stay whole.
    await run('qemu-io', '-f', 'qcow2', '-c', `write -q -P 7 ${CLUSTER} 4k`, '-c', 'write -q -P 8 20M 4k', path)
    bytes.fill(7, CLUSTER, CLUSTER + 4096)
    bytes.fill(8, 20 * MIB, 20 * MIB + 4096)
    await writeFile(expected, bytes)
    await run('qemu-img', 'compare', '-f', 'raw', '-F', 'qcow2', expected, path)
    await run('qemu-img', 'check', '-q', '-f', 'qcow2', path)
    await assert.rejects(createNbdOverlay(path, backing, SIZE, holes), { code: 'target_exists' })
  })

  it('is made for 1 TiB at once, with every table in place', async () => {
    const sizeBytes = 1024 * GIB
    const device: BlockSource = {
      sizeBytes,
      parallelism: 4,
      extents: (offset, length) => Promise.resolve([{ offset, length, kind: 'data' }]),
      read: (_offset, into) => Promise.resolve(void into.fill(0x5a)),
      close: () => Promise.resolve(),
    }
    const backing = await serve('huge', device)
    const data = [0, 100, 1023].map((gib) => ({ offset: gib * GIB + 3 * CLUSTER, length: CLUSTER }))
    const holes = data.map(({ offset }, i) => {
      const end = data[i - 1] === undefined ? 0 : (data[i - 1]?.offset ?? 0) + CLUSTER
      return { offset: end, length: offset - end }
    })
    const last = (data.at(-1)?.offset ?? 0) + CLUSTER
    const path = join(folder, 'huge.qcow2')
    await createNbdOverlay(path, backing, sizeBytes, [...holes, { offset: last, length: sizeBytes - last }])
    await run('qemu-img', 'check', '-q', '-f', 'qcow2', path)
    const map = JSON.parse(await run('qemu-img', 'map', '--output=json', '-f', 'qcow2', path)) as MapEntry[]
    const below = map.filter(({ zero }) => !zero).map(({ start, length }) => ({ offset: start, length }))
    assert.deepEqual(below, data)
  })
})
