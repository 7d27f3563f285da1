/** The empty overlay that we write, held against what QEMU makes of it. */
import assert from 'node:assert/strict'
import { readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { createQcow2Overlay, inspectImage, readQcow2, stampedBytes } from '#engine/block'
import { KIB, MIB, TIB } from '#base'
import { codeOf, run, testFolder } from './tools.ts'

const BASE_BYTES = 3 * MIB + 512

async function base(folder: string): Promise<Readonly<{ path: string; bytes: Buffer }>> {
  const raw = join(folder, 'base.raw')
  const bytes = Buffer.concat([
    stampedBytes({ disk: 3, version: 1 }, 0, 2 * MIB),
    Buffer.alloc(BASE_BYTES - 2 * MIB - 512),
    stampedBytes({ disk: 3, version: 1 }, BASE_BYTES - 512, 512),
  ])
  await writeFile(raw, bytes)
  const path = join(folder, 'base.qcow2')
  await run('qemu-img', 'convert', '-f', 'raw', '-O', 'qcow2', raw, path)
  return { path, bytes }
}

async function diskBytes(path: string): Promise<Buffer> {
  await run('qemu-img', 'convert', '-f', 'qcow2', '-O', 'raw', path, `${path}.out`)
  return readFile(`${path}.out`)
}

test('QEMU finds no error in an overlay of any size, and its backing as we named it', async () => {
  const folder = await testFolder()
  const { path: backing } = await base(folder)
  for (const [i, sizeBytes] of [BASE_BYTES, BASE_BYTES + 512, 4 * MIB, 1024 * MIB, 64 * TIB].entries()) {
    const path = join(folder, `over-${i}.qcow2`)
    await createQcow2Overlay(path, sizeBytes, { path: backing, format: 'qcow2' })
    const info = JSON.parse(await run('qemu-img', 'info', '-f', 'qcow2', '--output=json', path)) as Record<
      string,
      unknown
    >
    assert.deepEqual(
      [info['virtual-size'], info['backing-filename'], info['backing-filename-format']],
      [sizeBytes, backing, 'qcow2'],
    )
    const checked = JSON.parse(await run('qemu-img', 'check', '-f', 'qcow2', '--output=json', path)) as object
    for (const fault of ['corruptions', 'leaks']) assert.ok(!(fault in checked), JSON.stringify(checked))
    const header = await readQcow2(path)
    assert.deepEqual([header.virtualSizeBytes, header.backingFile, header.backingFormat], [sizeBytes, backing, 'qcow2'])
    assert.ok((await stat(path)).blocks * 512 <= 64 * KIB, 'it takes next to nothing')
  }
})

test('it reads as its backing, as zeros behind that, takes writes, grows, and keeps the backing as it was', async () => {
  const folder = await testFolder()
  const { path: backing, bytes } = await base(folder)
  const path = join(folder, 'over.qcow2')
  await createQcow2Overlay(path, 8 * MIB, { path: backing, format: 'qcow2' })
  const expected = Buffer.alloc(8 * MIB)
  bytes.copy(expected)
  assert.ok(expected.equals(await diskBytes(path)))
  const written = stampedBytes({ disk: 4, version: 2 }, 5 * MIB, 64 * KIB)
  await writeFile(join(folder, 'w'), written)
  for (const offset of [512, 5 * MIB]) {
    await run('qemu-io', '-f', 'qcow2', '-c', `write -s ${join(folder, 'w')} ${offset} ${written.length}`, path)
    written.copy(expected, offset)
  }
  await run('qemu-img', 'bitmap', '--add', '-f', 'qcow2', path, 'hf-tracked')
  await run('qemu-img', 'resize', '-q', '-f', 'qcow2', path, String(9 * MIB))
  assert.ok(Buffer.concat([expected, Buffer.alloc(MIB)]).equals(await diskBytes(path)))
  assert.ok(bytes.equals(await diskBytes(backing)), 'the backing is untouched')
})

test('it is inspected only where its backing is allowed, and never written over a file', async () => {
  const folder = await testFolder()
  const { path: backing } = await base(folder)
  const path = join(folder, 'over.qcow2')
  await createQcow2Overlay(path, BASE_BYTES, { path: backing, format: 'qcow2' })
  assert.equal(await codeOf(inspectImage(path, 'qcow2')), 'image_backing_refused')
  assert.equal(
    await codeOf(inspectImage(path, 'qcow2', { allowBackingIn: [join(folder, 'no')] })),
    'image_backing_refused',
  )
  const info = await inspectImage(path, 'qcow2', { allowBackingIn: [folder] })
  assert.equal(info.backing?.path, backing)
  assert.equal(await codeOf(createQcow2Overlay(path, BASE_BYTES, { path: backing, format: 'qcow2' })), 'target_exists')
})
