/** Compares a FileTree with a folder of the host, byte by byte. */
import assert from 'node:assert/strict'
import { lstat, readdir, readFile, readlink } from 'node:fs/promises'
import { join } from 'node:path'
import type { FileTree } from '#engine/transfer'

export async function readWhole(tree: FileTree, path: string): Promise<Buffer> {
  const parts: Buffer[] = []
  for await (const part of tree.readFile(path)) parts.push(Buffer.from(part))
  return Buffer.concat(parts)
}

/** Asserts that `path` of the tree holds what `folder` holds, names, kinds, sizes, bytes and link targets. */
export async function assertSameTree(
  tree: FileTree,
  path: string,
  folder: string,
  ignored: readonly string[] = [],
): Promise<number> {
  const entries = (await tree.list(path)).filter(({ name }) => !ignored.includes(name))
  assert.deepEqual(entries.map(({ name }) => name).sort(), (await readdir(folder)).sort(), `names in ${path}`)
  let compared = 0
  for (const entry of entries) {
    const inside = `${path === '/' ? '' : path}/${entry.name}`
    const outside = join(folder, entry.name)
    const stat = await lstat(outside)
    compared += 1
    if (stat.isSymbolicLink()) assert.equal(entry.linkTarget, await readlink(outside))
    else if (stat.isDirectory()) compared += await assertSameTree(tree, inside, outside)
    else {
      assert.equal(entry.kind, 'file', inside)
      assert.equal(entry.sizeBytes, stat.size, inside)
      assert.ok((await readWhole(tree, inside)).equals(await readFile(outside)), `the bytes of ${inside}`)
    }
  }
  return compared
}
