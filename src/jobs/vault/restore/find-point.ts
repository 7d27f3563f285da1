/** The recovery point that an order names, as its record has it. */
import { type Catalog, type CatalogTransaction, findVaultPoint, type VaultPoint } from '#catalog'
import { JobsError } from '../../errors.ts'

/** @throws JobsError `recovery_point_not_there` */
export async function findPoint(
  from: Catalog | CatalogTransaction,
  { itemKey, point }: Readonly<{ itemKey: string; point: string }>,
): Promise<VaultPoint> {
  const found = await findVaultPoint(from, itemKey, point)
  if (found !== undefined) return found
  throw new JobsError('recovery_point_not_there', `There is no recovery point ${point}.`, {
    facts: { item: itemKey, point },
  })
}
