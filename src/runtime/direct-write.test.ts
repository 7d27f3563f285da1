import assert from 'node:assert/strict'
import { mkdtemp, open, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, test } from 'node:test'
import { MIB } from '#base'
import { DIRECT_ALIGNMENT_BYTES, writeDirect } from './direct-write.ts'
import { createFileOnce } from './durable-file.ts'

let folder = ''
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'hfd-'))
})
afterEach(() => rm(folder, { recursive: true }))

/** Parts of odd lengths whose 32-bit words say where they belong. */
function partsOf(totalBytes: number): Uint8Array[] {
  const words = new Uint32Array(Math.ceil(totalBytes / 4)).map((_, i) => i + 1)
  const all = new Uint8Array(words.buffer).subarray(0, totalBytes)
  const parts: Uint8Array[] = []
  for (let at = 0, length = 1; at < totalBytes; at += length, length = ((length * 7) % 300_007) + 1)
    parts.push(all.subarray(at, at + length))
  return parts
}

for (const totalBytes of [MIB, 2 * MIB + 4095, 5 * MIB + 1, 6 * MIB])
  test(`createFileOnce() writes ${totalBytes} bytes in odd parts just as they are`, async () => {
    const parts = partsOf(totalBytes)
    const path = join(folder, 'made')
    assert.equal(await createFileOnce(path, parts), 'created')
    assert.equal(Buffer.compare(await readFile(path), Buffer.concat(parts)), 0)
  })

test('writeDirect() leaves what fills no block to its caller, and all of it where files cannot be opened so', async () => {
  const path = join(folder, 'made')
  const parts = partsOf(MIB + 100)
  await writeFile(path, '')
  const done = await writeDirect(path, parts)
  assert.ok(done === MIB || done === 0, `${done}`)
  assert.equal(await writeDirect(path, parts, () => Promise.resolve(undefined)), 0)
})

test('writeDirect() tells how far it came when the file system refuses in the middle', async () => {
  const path = join(folder, 'made')
  const handle = await open(path, 'w')
  const refusing = {
    calls: 0,
    close: () => handle.close(),
    async write(bytes: Uint8Array, offset: number, length: number, position: number) {
      this.calls += 1
      if (this.calls > 1) throw Object.assign(new Error('refused'), { code: 'EINVAL' })
      return handle.write(bytes, offset, length, position)
    },
  }
  const parts = partsOf(5 * MIB)
  const done = await writeDirect(path, parts, () => Promise.resolve(refusing as never))
  assert.equal(done, 2 * MIB)
  assert.equal(done % DIRECT_ALIGNMENT_BYTES, 0)
  assert.equal(Buffer.compare(await readFile(path), Buffer.concat(parts).subarray(0, done)), 0)
})

test('writeDirect() raises a full file system, and createFileOnce() leaves nothing of the file', async () => {
  const full = {
    close: () => Promise.resolve(),
    write: () => Promise.reject(Object.assign(new Error('no space'), { code: 'ENOSPC' })),
  }
  await assert.rejects(
    writeDirect(join(folder, 'made'), partsOf(MIB), () => Promise.resolve(full as never)),
    { code: 'ENOSPC' },
  )
})
