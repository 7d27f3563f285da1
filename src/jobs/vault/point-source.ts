/**
 * Where a recovery point of a vault can be read, best first: the vault's own repository, the region's where it landed, the copy in
 * the other region. Which of them can be opened is found out by who opens it (restore/read-point.ts): a store may be gone.
 */
import type { VaultPoint } from '#catalog'
import { regionRepository, type RegionRepositoryParts } from '../compute/region-repository.ts'
import type { RepositoryAccess } from '../repository-access.ts'
import { vaultRepository } from './vault-repository.ts'

export type PointSide = 'vault' | 'landed' | 'mirror'
export type PointPlace = Readonly<{ side: PointSide; access: RepositoryAccess; point: string }>

/**
 * @param from `mirror`: only the copy in the other region, as a restore across regions reads it
 * @param elsewhere the host that is to read it, where that is not this one
 * @throws JobsError `vault_not_there`, `vault_key_missing`, `store_not_shared`, `region_key_missing`
 */
export async function placesOfPoint(
  parts: RegionRepositoryParts,
  point: Pick<VaultPoint, 'vaultKey' | 'pointId' | 'landed' | 'vaultedMs' | 'mirroredMs'>,
  { from = 'any', elsewhere }: Readonly<{ from?: 'any' | 'mirror' | undefined; elsewhere?: string | undefined }> = {},
): Promise<PointPlace[]> {
  const { vaultKey, pointId, landed, vaultedMs, mirroredMs } = point
  const vault = await vaultRepository(parts, vaultKey, from === 'any' ? elsewhere : undefined)
  const places: PointPlace[] = []
  if (from === 'any' && (vaultedMs !== undefined || landed === undefined))
    places.push({ side: 'vault', access: vault.access, point: pointId })
  if (from === 'any' && landed !== undefined) {
    const { access } = await regionRepository(parts, landed.region, elsewhere)
    places.push({ side: 'landed', access, point: landed.pointId })
  }
  if (vault.mirror !== undefined && (mirroredMs !== undefined || from === 'mirror'))
    places.push({ side: 'mirror', access: vault.mirror, point: pointId })
  return places
}
