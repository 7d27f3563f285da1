/**
 * Copies of the catalog in the home, one a day, the newest seven: for when its file is damaged or something was done to it.
 * On the same disk, so no replacement for a copy elsewhere; a copy is whole or absent.
 */
import { mkdir, readdir, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { type Clock, isoTime } from '#base'
import type { Catalog } from '#catalog'
import type { Home } from './home.ts'

const KEPT = 7
const NAME = /^catalog-\d{8}T\d{6}Z\.sqlite$/
/** A little less than a day, so that an hourly look does not slip by an hour each day. */
const AGE_MS_MIN = 23.5 * 3_600_000

export function copiesFolder(home: Pick<Home, 'folder'>): string {
  return join(home.folder, 'backup')
}

/** Makes a copy when the newest one is a day old, and lets go of the oldest. @throws CatalogError */
export async function keepCatalogCopies(home: Home, catalog: Catalog, clock: Clock): Promise<void> {
  const folder = copiesFolder(home)
  await mkdir(folder, { recursive: true, mode: 0o700 })
  const names = async (): Promise<string[]> => (await readdir(folder)).filter((name) => NAME.test(name)).sort()
  const newest = (await names()).at(-1)
  const nowMs = clock.nowMs()
  if (newest !== undefined && Math.abs(nowMs - (await stat(join(folder, newest))).mtimeMs) < AGE_MS_MIN) return
  const stamp = isoTime(nowMs)
    .replace(/\.\d+Z$/, 'Z')
    .replaceAll(/[-:]/g, '')
  await catalog.backupTo(join(folder, `catalog-${stamp}.sqlite`))
  for (const old of (await names()).slice(0, -KEPT)) await rm(join(folder, old), { force: true })
}
