/** Compares two folders of the host, byte by byte: names, kinds, bytes, targets of links. */
import assert from 'node:assert/strict'
import { lstat, readdir, readFile, readlink } from 'node:fs/promises'
import { join } from 'node:path'

export async function assertSameFolder(expected: string, found: string, ignored: readonly string[]): Promise<void> {
  const names = async (folder: string): Promise<string[]> =>
    (await readdir(folder)).filter((name) => !ignored.includes(name)).toSorted()
  assert.deepEqual(await names(found), await names(expected), `names in ${found}`)
  for (const name of await names(expected)) {
    const [left, right] = [join(expected, name), join(found, name)]
    const stat = await lstat(left)
    if (stat.isSymbolicLink()) assert.equal(await readlink(right), await readlink(left), right)
    else if (stat.isDirectory()) await assertSameFolder(left, right, [])
    else assert.ok((await readFile(right)).equals(await readFile(left)), `the bytes of ${right}`)
  }
}
