/**
 * Who reads a recovery point: its record names the jobs and sessions (`holds` of its facts), and retention leaves it alone for as
 * long. A hold with an end lapses by itself; one of a job ends with the job, however that ends.
 */
import { type Catalog, type CatalogTransaction, changeVaultPoint, findVaultPoint, type VaultPoint } from '#catalog'

type Holds = Readonly<Record<string, number | null>>

function holdsOf({ facts }: Pick<VaultPoint, 'facts'>): Holds {
  return (facts['holds'] ?? {}) as Holds
}

/** Whether somebody reads it now. */
export function isHeld(point: Pick<VaultPoint, 'facts'>, nowMs: number): boolean {
  return Object.values(holdsOf(point)).some((untilMs) => untilMs === null || untilMs > nowMs)
}

type Named = Readonly<{ itemKey: string; point: string }>

/** @param untilMs null: until it is let go of */
export async function holdPoint(
  trx: CatalogTransaction,
  { itemKey, point }: Named,
  by: string,
  untilMs: number | null = null,
): Promise<void> {
  const found = await findVaultPoint(trx, itemKey, point)
  if (found === undefined) return
  const facts = { ...found.facts, holds: { ...holdsOf(found), [by]: untilMs } }
  await changeVaultPoint(trx, itemKey, point, { facts })
}

export async function releasePoint(catalog: Catalog, { itemKey, point }: Named, by: string): Promise<void> {
  await catalog.write(async (trx) => {
    const found = await findVaultPoint(trx, itemKey, point)
    if (found === undefined || !(by in holdsOf(found))) return
    const { [by]: _gone, ...holds } = holdsOf(found)
    await changeVaultPoint(trx, itemKey, point, { facts: { ...found.facts, holds } })
  })
}
