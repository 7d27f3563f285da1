/**
 * A data disk that carries SQLite's command line program with everything it is linked with, for a guest that has neither. An
 * ext4 without partitions. The database of `SqliteLoad` lives on it.
 */
import { copyFile, mkdir, rm, truncate, writeFile } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { checkCommand } from '#runtime'

const BYTES = 64 * 1024 * 1024

/** Makes the raw disk image at `path`. */
export async function makeSqliteDisk(path: string): Promise<void> {
  const stage = `${path}.stage`
  const folder = join(stage, 'sqlite')
  await mkdir(folder, { recursive: true })
  const program = (await checkCommand('sh', ['-c', 'command -v sqlite3'])).stdout.toString('utf8').trim()
  await copyFile(program, join(folder, 'sqlite3'))
  const linked = (await checkCommand('ldd', [program])).stdout.toString('utf8')
  for (const [, library] of linked.matchAll(/(?:=> |^\t)(\/\S+) \(0x/gm)) {
    if (library === undefined) continue
    await copyFile(library, join(folder, /\/ld-linux/.test(library) ? 'ld.so' : basename(library)))
  }
  const wrapper = '#!/bin/sh\nd=${0%/*}\nexec "$d/ld.so" --library-path "$d" "$d/sqlite3" "$@"\n'
  await writeFile(join(folder, 'run'), wrapper, { mode: 0o755 })
  await writeFile(path, '')
  await truncate(path, BYTES)
  await checkCommand('mke2fs', ['-q', '-F', '-t', 'ext4', '-E', 'lazy_itable_init=0,root_owner=0:0', '-d', stage, path])
  await rm(stage, { recursive: true })
}
