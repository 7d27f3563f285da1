/** Pools: whether every disk that is an overlay finds the file that it rests on. A missing one is all that its disks share. */
import { readdir, stat } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { errnoOf, isHoldfastError, messageOf } from '#base'
import type { CatalogInspection } from '#catalog'
import { readQcow2 } from '#engine/block'
import { failed, type Finding, well } from './finding.ts'

type Overlay = Readonly<{ disk: string; base: string }>

async function namesIn(folder: string): Promise<string[]> {
  try {
    return (await readdir(folder)).filter((name) => name.endsWith('.qcow2') && !name.startsWith('.'))
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return [] // No disk was made here yet.
    throw error
  }
}

async function overlayIn(disk: string): Promise<Overlay | undefined> {
  try {
    const { backingFile } = await readQcow2(disk)
    return backingFile === undefined ? undefined : { disk, base: backingFile }
  } catch (error) {
    if (isHoldfastError(error, 'image_not_found')) return undefined // Deleted meanwhile.
    throw error
  }
}

async function isThere(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  )
}

async function findingOf(check: string, pool: string): Promise<Finding[]> {
  const overlays: Overlay[] = []
  for (const name of await namesIn(join(pool, 'disks'))) {
    const found = await overlayIn(join(pool, 'disks', name))
    if (found !== undefined) overlays.push(found)
  }
  if (overlays.length === 0) return []
  const lacking: Overlay[] = []
  for (const overlay of overlays) if (!(await isThere(overlay.base))) lacking.push(overlay)
  const bases = new Set(overlays.map(({ base }) => base)).size
  const [first] = lacking
  if (first === undefined)
    return [well(check, `${overlays.length} disks from images find the ${bases} bases they rest on.`)]
  const says = `${lacking.length} disks cannot be read: what they rest on is gone, such as ${basename(first.base)} of ${basename(first.disk)}.`
  const remedy = `Put the file back into ${dirname(first.base)} from a copy of the pool; or restore the disks from their snapshots.`
  return [failed(check, says, remedy)]
}

export async function baseFindings({ pools }: Pick<CatalogInspection, 'pools'>): Promise<Finding[]> {
  const found: Finding[] = []
  for (const { region, name, path } of pools) {
    const check = `bases ${region}/${name}`
    try {
      found.push(...(await findingOf(check, path)))
    } catch (error) {
      found.push(failed(check, `The disks of ${path} cannot be looked at: ${messageOf(error)}`, 'Look at its rights.'))
    }
  }
  return found
}
