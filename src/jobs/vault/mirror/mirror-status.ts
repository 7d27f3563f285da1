/**
 * How a vault's mirror stands, as it was when it was last looked at: one setting of the catalog per vault. The lag itself is not kept, since
 * it grows by itself: it is what of the vault's points is not mirrored yet.
 */
import { type Catalog, type CatalogTransaction, findSetting, putSetting } from '#catalog'

/** What a check found on one side. */
export type CheckedSide = Readonly<{
  checkedBytes: number
  packs: number
  hurt: readonly string[]
  healed: readonly string[]
  /** What stays hurt. */
  lost: number
}>

export type MirrorStatus = Readonly<{
  /** The last pass that came to its end. */
  passedMs?: number
  /** The last entry of the log that the mirror has. */
  head?: number
  /** Packs that the vault itself has not whole. */
  owed?: number
  /** Why the last attempt did not come to its end; absent when it did. */
  failed?: Readonly<{ atMs: number; code: string; message: string; hint?: string | undefined }>
  /** When a check broke off; absent when the last one came to its end. */
  checkFailedMs?: number
  checked?: Readonly<{ atMs: number; ok: boolean; source: CheckedSide; target: CheckedSide }>
}>

const nameOf = (uid: string): string => `vault-mirror/${uid}`

export async function readMirrorStatus(from: Catalog | CatalogTransaction, uid: string): Promise<MirrorStatus> {
  const text = await findSetting(from, nameOf(uid))
  return text === undefined ? {} : (JSON.parse(text) as MirrorStatus)
}

/** A field that is given as undefined is cleared. */
export async function changeMirrorStatus(
  trx: CatalogTransaction,
  uid: string,
  change: Readonly<{ [Field in keyof MirrorStatus]?: MirrorStatus[Field] | undefined }>,
): Promise<void> {
  const status = { ...(await readMirrorStatus(trx, uid)), ...change }
  await putSetting(trx, nameOf(uid), JSON.stringify(status))
}
