/** The disks of a machine as its storage profile has them: OS disk first, then by the order of the profile. */
import { listResources, type ResourceRecord } from '#catalog'
import type { ImageLun } from '#domain'
import { DISK_TYPE, propertiesOf } from '#jobs'
import type { ArmCall } from '../../arm/call.ts'
import { fieldAt } from '../../arm/field-table.ts'

/** `shown`: what the profile says of it. */
export type MachineDiskRow = Readonly<{ lun: ImageLun; shown: unknown; record: ResourceRecord }>

/** Of machines that Holdfast runs and adopted ones alike. A disk that has no row is left out. */
export async function disksOfMachine(
  { host }: Pick<ArmCall, 'host'>,
  machine: ResourceRecord,
): Promise<MachineDiskRow[]> {
  const profile = propertiesOf(machine)['storageProfile']
  const data = fieldAt(profile, 'dataDisks')
  const all: readonly (readonly [ImageLun, unknown])[] = [
    ['os', fieldAt(profile, 'osDisk')],
    ...(Array.isArray(data) ? data : []).map((disk: unknown) => [Number(fieldAt(disk, 'lun')), disk] as const),
  ]
  const rows = new Map((await listResources(host.catalog, { type: DISK_TYPE })).map((row) => [row.key, row]))
  return all.flatMap(([lun, shown]) => {
    const id = fieldAt(shown, 'managedDisk.id')
    const record = typeof id === 'string' ? rows.get(id.toLowerCase()) : undefined
    return record === undefined ? [] : [{ lun, shown, record }]
  })
}
