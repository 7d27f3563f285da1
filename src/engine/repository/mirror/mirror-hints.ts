/**
 * What the host that mirrors remembers between its passes, in its cache folder. Nothing but work rests on it: without it the mirror's log is
 * listed whole, the packs in the mirror are listed for what is owed and looked through once, and what is to be deleted there waits anew.
 */
import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { makeFolderDurable, replaceFile } from '#runtime'
import { parseObject, toJsonBytes } from '../json.ts'
import { PACK_NAME } from '../log/entry.ts'

export type MirrorHints = Readonly<{
  /** An entry that the mirror has. */
  head: number
  /** Entries up to this one have been looked at for what they delete. */
  sweptTo: number
  /** Packs in the mirror that the log has given up, and since when that is known here. */
  condemned: Readonly<Record<string, number>>
  /** Packs that the repository had not whole when their entries were copied. */
  owed: readonly string[]
}>

export const NO_HINTS: MirrorHints = { head: 0, sweptTo: 0, condemned: {}, owed: [] }
const FILE = 'mirror.json'

/** The folder of one pair: a repository and the location of its mirror. */
export function hintsFolder(cacheFolder: string, repositoryId: string, location: string): string {
  const place = createHash('sha256').update(location).digest('hex').slice(0, 16)
  return join(cacheFolder, `${repositoryId}-to-${place}`)
}

export async function readHints(folder: string): Promise<MirrorHints | undefined> {
  const bytes = await readFile(join(folder, FILE)).catch(() => undefined) // never mirrored from here
  const kept = bytes === undefined ? undefined : (parseObject(bytes) as Partial<MirrorHints> | undefined)
  const isNumber = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0
  if (kept === undefined || !isNumber(kept.head) || !isNumber(kept.sweptTo)) return undefined
  const condemned = Object.entries(kept.condemned ?? {}).filter(([name, at]) => PACK_NAME.test(name) && isNumber(at))
  const owed = Array.isArray(kept.owed) ? kept.owed.filter((name) => PACK_NAME.test(String(name))) : []
  return { head: kept.head, sweptTo: kept.sweptTo, condemned: Object.fromEntries(condemned), owed }
}

export async function saveHints(folder: string, hints: MirrorHints): Promise<void> {
  await makeFolderDurable(folder)
  await replaceFile(join(folder, FILE), [toJsonBytes(hints)])
}
