/** Machines as the commands show them. The power state comes with the instance view, so that is always asked for. */
import { textTable } from '../text-table.ts'
import type { Kind } from './one-or-many.ts'
import type { ResourceJson } from './resource-json.ts'
import { groupIn, nameOf } from './targets.ts'
import { factLines, tagsCell, textCell, timeCell } from './words.ts'

export const MACHINE_TYPE = 'Microsoft.Compute/virtualMachines'

type StatusLine = Readonly<{ code: string; displayStatus?: string; message?: string }>
type DiskEntry = Readonly<{ lun?: number; name?: string; managedDisk?: Readonly<{ id?: string }> }>

export type MachineJson = ResourceJson &
  Readonly<{
    properties: Readonly<{
      provisioningState?: string
      timeCreated?: string
      vmId?: string
      hardwareProfile?: Readonly<{ vmSize?: string }>
      storageProfile?: Readonly<{ osDisk?: DiskEntry; dataDisks?: readonly DiskEntry[] }>
      instanceView?: Readonly<{
        statuses?: readonly StatusLine[]
        vmAgent?: Readonly<{ statuses?: readonly StatusLine[] }>
        computerName?: string
        osName?: string
      }>
    }>
  }>

function powerOf({ properties }: MachineJson): StatusLine | undefined {
  return properties.instanceView?.statuses?.find(({ code }) => code.startsWith('PowerState/'))
}

function powerCell(machine: MachineJson): string {
  const { provisioningState } = machine.properties
  if (provisioningState !== 'Succeeded') return textCell(provisioningState)
  return textCell(powerOf(machine)?.code.slice('PowerState/'.length))
}

function diskName(disk: DiskEntry | undefined): string {
  return textCell(disk?.managedDisk?.id === undefined ? disk?.name : nameOf(disk.managedDisk.id))
}

function facts(machine: MachineJson): string {
  const { id, name, location, tags, properties } = machine
  const { storageProfile, instanceView, hardwareProfile } = properties
  const data = storageProfile?.dataDisks?.map((disk) => `${disk.lun}: ${diskName(disk)}`) ?? []
  return factLines([
    ['Name', textCell(name)],
    ['Group', textCell(groupIn(id))],
    ['Location', textCell(location)],
    ['Size', textCell(hardwareProfile?.vmSize)],
    ['Power', powerCell(machine)],
    ['Why', textCell(powerOf(machine)?.message)],
    ['Agent', textCell(instanceView?.vmAgent?.statuses?.[0]?.displayStatus)],
    ['Host name', textCell(instanceView?.computerName)],
    ['System', textCell(instanceView?.osName)],
    ['OS disk', diskName(storageProfile?.osDisk)],
    ['Data disks', data.join(', ')],
    ['Created (UTC)', timeCell(properties.timeCreated)],
    ['Tags', tagsCell(tags)],
  ])
}

function table(machines: readonly MachineJson[]): string {
  if (machines.length === 0) return 'There is no machine here.'
  const rows = machines.map((machine) => [
    textCell(machine.name),
    textCell(groupIn(machine.id)),
    textCell(machine.location),
    textCell(machine.properties.hardwareProfile?.vmSize),
    powerCell(machine),
    textCell(machine.properties.instanceView?.vmAgent?.statuses?.[0]?.displayStatus),
  ])
  return textTable(['NAME', 'GROUP', 'LOCATION', 'SIZE', 'POWER', 'AGENT'], rows)
}

export const MACHINE: Kind<MachineJson> = {
  type: MACHINE_TYPE,
  word: 'machine',
  one: (machine) => ({ value: machine, table: () => facts(machine) }),
  many: (machines) => ({ value: machines, table: () => table(machines) }),
}
