/**
 * Rows of images as the jobs change them. Platform images (offered by publisher, offer, sku and version) are images of the server:
 * they stand in no resource group and have a type of their own.
 */
import {
  type Catalog,
  type CatalogTransaction,
  type ChangeSource,
  findResource,
  listResources,
  type ResourceRecord,
  updateResource,
} from '#catalog'
import { type DiskBacking, type ImageBacking, type ImageDisk, sizeGb } from '#domain'
import { DISK_TYPE, propertiesOf } from '../disk-records.ts'

export const IMAGE_TYPE = 'Microsoft.Compute/images'
export const PLATFORM_IMAGE_TYPE = 'Microsoft.Compute/locations/publishers/artifacttypes/offers/skus/versions'
export const IMAGE_TYPES = [IMAGE_TYPE, PLATFORM_IMAGE_TYPE] as const

type Fields = Readonly<Record<string, unknown>>

/** The part of the storage profile that shows a disk, with the size that is known now. */
function sized(shown: unknown, disk: ImageDisk | undefined): unknown {
  if (disk === undefined) return shown
  return { ...(shown as Fields | undefined), diskSizeGB: sizeGb(disk.sizeBytes) }
}

function withSizes(record: ResourceRecord, disks: readonly ImageDisk[]): Fields {
  const properties = propertiesOf(record)
  const profile = (properties['storageProfile'] ?? {}) as Fields
  const dataDisks = (profile['dataDisks'] ?? []) as readonly Fields[]
  const storageProfile = {
    ...profile,
    osDisk: sized(
      profile['osDisk'],
      disks.find(({ lun }) => lun === 'os'),
    ),
    dataDisks: dataDisks.map((shown) =>
      sized(
        shown,
        disks.find(({ lun }) => lun === shown['lun']),
      ),
    ),
  }
  return { ...record.body, properties: { ...properties, storageProfile } }
}

/** The image is whole: it needs nothing that it was made of. */
export async function finishImage(
  trx: CatalogTransaction,
  id: string,
  disks: readonly ImageDisk[],
  source: ChangeSource,
): Promise<void> {
  const record = await findResource(trx, id)
  if (record === undefined) return
  const usedBytes = disks.reduce((sum, disk) => sum + disk.usedBytes, 0)
  const backing = { ...record.backing, disks, usedBytes } satisfies ImageBacking & Fields
  const body = withSizes(record, disks)
  await updateResource(trx, id, { state: 'Succeeded', body, backing }, source)
}

/** Ids of the disks that are being made from the image: until they are done its versions stay. */
export async function disksBeingMadeOf(from: Catalog | CatalogTransaction, imageId: string): Promise<string[]> {
  const disks = await listResources(from, { type: DISK_TYPE })
  return disks
    .filter(({ state, backing }) => {
      const { base } = backing as Partial<DiskBacking>
      return state === 'Creating' && base?.image?.toLowerCase() === imageId.toLowerCase()
    })
    .map(({ id }) => id)
}
