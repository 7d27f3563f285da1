/**
 * A machine made again from what its recovery point says of it: the bodies that the API is asked with, and the template and
 * configuration that a restore of disks leaves for whoever makes the machine later. Pure.
 *
 * As in Azure: as many network cards as the machine had, all in one subnet, with addresses of their own (dynamic); no availability
 * set, no extensions, no public addresses, no network security groups; the operating system as it is on its disk.
 */
import type { AzureMachine } from './azure-machine.ts'

type Fields = Readonly<Record<string, unknown>>

export type DiskToAttach = Readonly<{ id: string; name: string; lun: number }>
export type MachineToMake = Readonly<{
  name: string
  location: string
  zones: readonly string[]
  disks: readonly DiskToAttach[]
  /** Ids of its cards, the first one is primary. */
  cards: readonly string[]
}>

/** Properties that a machine keeps over a restore; the rest belongs to its old place. */
const KEPT = ['hardwareProfile', 'diagnosticsProfile', 'licenseType', 'userData'] as const
export const MACHINE_API_VERSION = '2024-11-01'
export const NETWORK_API_VERSION = '2024-05-01'
const CARDS_MAX = 4

function fieldsOf(value: unknown): Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Fields) : {}
}

function propertiesOf(azure: AzureMachine): Fields {
  return fieldsOf(azure.machine.body['properties'])
}

/** How a disk was in the machine, by its LUN. */
function entryBefore(azure: AzureMachine, lun: number): Fields {
  const { osDisk, dataDisks } = fieldsOf(propertiesOf(azure)['storageProfile'])
  if (lun < 0) return fieldsOf(osDisk)
  return fieldsOf((Array.isArray(dataDisks) ? dataDisks : []).find((one) => fieldsOf(one)['lun'] === lun))
}

/** An entry of the machine's storage profile. `id` may be an expression of a template. */
export function diskEntry(azure: AzureMachine, { lun, name }: Pick<DiskToAttach, 'lun' | 'name'>, id: string): Fields {
  const { caching = 'None', osType = 'Linux', writeAcceleratorEnabled: _never } = entryBefore(azure, lun)
  return {
    ...(lun < 0 ? { osType } : { lun }),
    name,
    createOption: 'Attach',
    caching,
    deleteOption: 'Detach',
    managedDisk: { id },
  }
}

export function cardCount(azure: AzureMachine): number {
  return Math.min(CARDS_MAX, Math.max(1, azure.cards.length))
}

/** The body of a network card in that subnet. */
export function cardBody(azure: AzureMachine, location: string, subnet: string, at: number): Fields {
  return {
    location,
    tags: azure.cards[at]?.tags ?? {},
    properties: {
      ipConfigurations: [
        { name: 'ipconfig1', properties: { privateIPAllocationMethod: 'Dynamic', subnet: { id: subnet } } },
      ],
    },
  }
}

function machineProperties(azure: AzureMachine, os: Fields, dataDisks: readonly Fields[], cards: readonly string[]) {
  const before = propertiesOf(azure)
  const kept = Object.fromEntries(KEPT.flatMap((name) => (before[name] === undefined ? [] : [[name, before[name]]])))
  return {
    ...kept,
    storageProfile: { osDisk: os, dataDisks },
    networkProfile: { networkInterfaces: cards.map((id, at) => ({ id, properties: { primary: at === 0 } })) },
  }
}

/** The body of the machine. The point must hold the disk of its operating system. */
export function machineBody(azure: AzureMachine, { location, zones, disks, cards }: MachineToMake): Fields {
  const entries = disks.map((disk) => ({ lun: disk.lun, entry: diskEntry(azure, disk, disk.id) }))
  const os = entries.find(({ lun }) => lun < 0)?.entry ?? {}
  const data = entries.filter(({ lun }) => lun >= 0).map(({ entry }) => entry)
  return {
    location,
    tags: azure.machine.tags,
    ...(zones.length > 0 && { zones }),
    properties: machineProperties(azure, os, data, cards),
  }
}

const TEXT = { type: 'string' } as const
/** Names of the template's parameters, as Azure's have them. */
const PARAMETERS = {
  VirtualMachineName: { ...TEXT, metadata: { description: 'Name of the virtual machine.' } },
  VirtualNetwork: { ...TEXT, metadata: { description: 'Name of the virtual network.' } },
  VirtualNetworkResourceGroup: { ...TEXT, metadata: { description: 'Resource group of the virtual network.' } },
  Subnet: { ...TEXT, metadata: { description: 'Name of the subnet.' } },
} as const

/** What stands in the staging account: a template that makes the machine of the restored disks again. */
export function recreationTemplate(azure: AzureMachine, location: string, disks: readonly DiskToAttach[]): Fields {
  const names = Array.from(
    { length: cardCount(azure) },
    (_, at) => `[concat(parameters('VirtualMachineName'), '-nic-${at}')]`,
  )
  const idOf = (at: number): string =>
    `[resourceId('Microsoft.Network/networkInterfaces', concat(parameters('VirtualMachineName'), '-nic-${at}'))]`
  const subnet =
    "[resourceId(parameters('VirtualNetworkResourceGroup'), 'Microsoft.Network/virtualNetworks/subnets', " +
    "parameters('VirtualNetwork'), parameters('Subnet'))]"
  const cards = names.map((name, at) => ({
    type: 'Microsoft.Network/networkInterfaces',
    apiVersion: NETWORK_API_VERSION,
    name,
    ...cardBody(azure, location, subnet, at),
  }))
  const ids = names.map((_, at) => idOf(at))
  const machine = {
    type: 'Microsoft.Compute/virtualMachines',
    apiVersion: MACHINE_API_VERSION,
    name: "[parameters('VirtualMachineName')]",
    dependsOn: ids,
    ...machineBody(azure, { name: '', location, zones: [], disks, cards: ids }),
  }
  return {
    $schema: 'https://schema.management.azure.com/schemas/2015-01-01/deploymentTemplate.json#',
    contentVersion: '1.0.0.0',
    parameters: PARAMETERS,
    resources: [...cards, machine],
  }
}

/** The configuration file beside the template: the machine as it was, and which disk became which. */
export function machineConfig(azure: AzureMachine, disks: readonly DiskToAttach[]): Fields {
  const { id, name, location, tags, body } = azure.machine
  return {
    'properties.storageProfile.restoredDisks': disks.map(({ id: disk, lun }) => ({ lun, managedDisk: { id: disk } })),
    id,
    name,
    type: 'Microsoft.Compute/virtualMachines',
    location,
    tags,
    ...body,
  }
}
