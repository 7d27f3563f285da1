/**
 * In which pool of its region a new disk lies, and so on which host.
 *
 *   the tag holdfast-pool names one    in that one
 *   a copy of a disk                   in one of the host that has it: its bytes are there
 *   else                               in the first one of this host; in the first one at all where this host has none
 *
 * The tag is heeded when the disk is made; changing it later moves nothing.
 */
import { type Catalog, findResource, listAllPools, type Pool } from '#catalog'
import { ArmError, type Tags } from '#contract'
import type { DiskBacking } from '#domain'
import type { DiskOrigin } from '#jobs'

export const POOL_TAG = 'holdfast-pool'
/** What only this host has: files of the server. */
const FROM_HERE: ReadonlySet<DiskOrigin['kind']> = new Set(['file', 'blob', 'url'])

type Wanted = Readonly<{ location: string; tags: Tags; origin: DiskOrigin }>

function hostOf({ region, host }: Pool): string | undefined {
  return host === undefined ? undefined : `${region}/${host}`
}

async function sourceHost(catalog: Catalog, origin: DiskOrigin): Promise<string | undefined> {
  if (origin.kind !== 'disk') return undefined
  const backing = (await findResource(catalog, origin.id))?.backing as Partial<DiskBacking> | undefined
  return backing?.host
}

function checkReach(pool: Pool, origin: DiskOrigin, source: string | undefined): void {
  const host = hostOf(pool)
  if (origin.kind === 'disk' && host !== source)
    throw new ArmError(
      'InvalidParameter',
      `The pool '${pool.name}' is on another host than the disk that is to be copied: take a snapshot and copy that.`,
      { target: 'tags' },
    )
  if (host === undefined || !FROM_HERE.has(origin.kind)) return
  throw new ArmError(
    'InvalidParameter',
    `The pool '${pool.name}' is on the host '${host}', which cannot read files of the server: use createOption Upload.`,
    { target: 'properties.creationData.sourceUri' },
  )
}

/** @throws ArmError `AllocationFailed`, `InvalidParameter` */
export async function choosePool(catalog: Catalog, { location, tags, origin }: Wanted): Promise<Pool> {
  const pools = await listAllPools(catalog, location)
  const named = Object.entries(tags).find(([name]) => name.toLowerCase() === POOL_TAG)?.[1]
  const source = await sourceHost(catalog, origin)
  const found =
    named !== undefined
      ? pools.find(({ name }) => name === named)
      : (pools.find((pool) => hostOf(pool) === source) ?? pools[0])
  if (found === undefined)
    throw new ArmError(
      'AllocationFailed',
      named === undefined
        ? `The region '${location}' has no pool for disks.`
        : `The region '${location}' has no pool '${named}', which the tag ${POOL_TAG} names.`,
    )
  checkReach(found, origin, source)
  return found
}
