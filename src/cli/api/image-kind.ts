/** Images as the commands show them. */
import { textTable } from '../text-table.ts'
import type { Kind } from './one-or-many.ts'
import type { ImageJson } from './resource-json.ts'
import { groupIn, IMAGE_TYPE, nameOf } from './targets.ts'
import { factLines, tagsCell, textCell } from './words.ts'

export const IMAGE: Kind<ImageJson> = {
  type: IMAGE_TYPE,
  word: 'image',
  one: (image) => ({ value: image, table: () => facts(image) }),
  many: (images) => ({ value: images, table: () => imageTable(images) }),
}

type Disk = NonNullable<NonNullable<ImageJson['properties']['storageProfile']>['osDisk']>

function sourceOf(disk: Disk | undefined): string {
  const id = disk?.managedDisk?.id ?? disk?.snapshot?.id ?? disk?.blobUri
  return id === undefined ? '' : textCell(nameOf(id))
}

function madeOf({ properties }: ImageJson): string {
  const machine = properties.sourceVirtualMachine?.id
  return machine === undefined ? sourceOf(properties.storageProfile?.osDisk) : `machine ${textCell(nameOf(machine))}`
}

function disksCell({ properties }: ImageJson): string {
  return String(1 + (properties.storageProfile?.dataDisks?.length ?? 0))
}

function facts(image: ImageJson): string {
  const { id, name, location, tags, properties } = image
  const { osDisk, dataDisks = [] } = properties.storageProfile ?? {}
  return factLines([
    ['Name', textCell(name)],
    ['Group', textCell(groupIn(id))],
    ['Location', textCell(location)],
    ['System', textCell(osDisk?.osType)],
    ['Kind', textCell(osDisk?.osState)],
    ['Generation', textCell(properties.hyperVGeneration)],
    ['Made of', madeOf(image)],
    ['Data disks', dataDisks.map((disk) => `LUN ${disk.lun ?? '?'}: ${sourceOf(disk)}`).join(', ')],
    ['State', textCell(properties.provisioningState)],
    ['Tags', tagsCell(tags)],
  ])
}

function imageTable(images: readonly ImageJson[]): string {
  if (images.length === 0) return 'There is no image here.'
  const rows = images.map((image) => [
    textCell(image.name),
    textCell(groupIn(image.id)),
    textCell(image.location),
    textCell(image.properties.storageProfile?.osDisk?.osType),
    textCell(image.properties.storageProfile?.osDisk?.osState),
    disksCell(image),
    madeOf(image),
    textCell(image.properties.provisioningState),
  ])
  return textTable(['NAME', 'GROUP', 'LOCATION', 'SYSTEM', 'KIND', 'DISKS', 'MADE OF', 'STATE'], rows)
}
