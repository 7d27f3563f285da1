/**
 * Reads an instant with libnbd's own tools, so that our promises are judged by somebody else's client. `apply` brings a copy
 * of the last committed generation up to the instant: whole for `all`, only the dirty extents for `since`.
 */
import assert from 'node:assert/strict'
import { readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { checkCommand } from '#runtime'
import type { InstantDisk } from '#engine/hypervisor'

/** Prints "offset length" of every dirty extent, then writes the extents' bytes to the file, at their offsets. */
const READ_CHANGES = `
import nbd
h = nbd.NBD()
#CONNECT
out = open(FILE, 'r+b')
size = h.get_size()
dirty = []
def extent(name, offset, entries, error):
    if name != CONTEXT: return
    for length, flags in zip(entries[0::2], entries[1::2]):
        if flags & 1: dirty.append((offset, min(length, size - offset)))
        offset += length
at = 0
while at < size:
    h.block_status(min(size - at, 1 << 24), at, extent)
    at += 1 << 24
seen = set()
for offset, length in dirty:
    if (offset, length) in seen: continue
    seen.add((offset, length))
    print(offset, length)
    out.seek(offset)
    out.write(h.pread(length, offset))
`

/** Dirty bytes that were read; undefined when the whole disk was. */
export async function apply(folder: string, disk: InstantDisk, copies: Buffer[]): Promise<number | undefined> {
  assert.equal(disk.source.kind, 'nbd')
  if (disk.source.kind !== 'nbd') return undefined
  const path = join(folder, `copy${disk.lun}`)
  const uri = `nbd+unix:///${disk.source.exportName}?socket=${disk.source.socketPath}`
  let dirtyBytes: number | undefined
  if (disk.changes.kind === 'all') {
    await rm(path, { force: true })
    await checkCommand('nbdcopy', [uri, path])
  } else {
    const before = copies[disk.lun]
    assert.ok(before !== undefined, 'A copy of the generation that the changes count from')
    await writeFile(path, Buffer.concat([before, Buffer.alloc(Math.max(0, disk.sizeBytes - before.length))]))
    const program = `CONTEXT=${JSON.stringify(disk.source.bitmapContext)}\nFILE=${JSON.stringify(path)}\n${READ_CHANGES}`
    const connect = `h.add_meta_context(CONTEXT)\nh.connect_uri(${JSON.stringify(uri)})\n`
    // The system's Python, for which libnbd's binding is packaged.
    const said = await checkCommand('/usr/bin/python3', ['-c', program.replace('#CONNECT', connect)])
    const lines = said.stdout.toString().trim().split('\n')
    dirtyBytes = lines.reduce((sum, line) => sum + Number(line.split(' ')[1] ?? 0), 0)
  }
  copies[disk.lun] = await readFile(path)
  return dirtyBytes
}

/** Names the first sector that differs, as (disk, sector, version) says. */
export function assertSameDisk(actual: Buffer | undefined, expected: Buffer | undefined, what: string): void {
  assert.ok(actual !== undefined && expected !== undefined)
  assert.equal(actual.length, expected.length, `${what}: size`)
  if (actual.equals(expected)) return
  for (let at = 0; at < expected.length; at += 512) {
    const sector = (bytes: Buffer): string => bytes.subarray(at, at + 512).toString('latin1')
    assert.equal(sector(actual), sector(expected), `${what}: sector ${at / 512}`)
  }
}
