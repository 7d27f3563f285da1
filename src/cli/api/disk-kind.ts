/** Disks as the commands show them. */
import { textTable } from '../text-table.ts'
import type { Kind } from './one-or-many.ts'
import type { DiskJson } from './resource-json.ts'
import { DISK_TYPE, groupIn, nameOf } from './targets.ts'
import { factLines, sizeCell, tagsCell, textCell, timeCell } from './words.ts'

export const DISK: Kind<DiskJson> = {
  type: DISK_TYPE,
  word: 'disk',
  one: (disk) => ({ value: disk, table: () => facts(disk) }),
  many: (disks) => ({ value: disks, table: () => diskTable(disks) }),
}

function facts(disk: DiskJson): string {
  const { id, name, location, tags, managedBy, properties } = disk
  return factLines([
    ['Name', textCell(name)],
    ['Group', textCell(groupIn(id))],
    ['Location', textCell(location)],
    ['Size', sizeCell(properties.diskSizeBytes)],
    ['State', textCell(properties.diskState)],
    ['Provisioning', textCell(properties.provisioningState)],
    ['Machine', textCell(managedBy === undefined ? undefined : nameOf(managedBy))],
    ['Created (UTC)', timeCell(properties.timeCreated)],
    ['Tags', tagsCell(tags)],
  ])
}

function diskTable(disks: readonly DiskJson[]): string {
  if (disks.length === 0) return 'There is no disk here.'
  const rows = disks.map(({ id, name, location, managedBy, properties }) => [
    textCell(name),
    textCell(groupIn(id)),
    textCell(location),
    sizeCell(properties.diskSizeBytes),
    textCell(properties.provisioningState === 'Succeeded' ? properties.diskState : properties.provisioningState),
    textCell(managedBy === undefined ? undefined : nameOf(managedBy)),
  ])
  return textTable(['NAME', 'GROUP', 'LOCATION', 'SIZE', 'STATE', 'MACHINE'], rows)
}
