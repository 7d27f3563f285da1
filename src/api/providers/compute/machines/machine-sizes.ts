/** Sizes, and what of the host is taken: the lists that clients look into before they choose. */
import { findRegion, listRegions, listResources } from '#catalog'
import { ArmError, equalTo, normalizeLocation, parseFilter } from '#contract'
import { DATA_DISKS_MAX, MACHINE_SIZES, type MachineSize } from '#domain'
import { hostRoom, listOwnMachines, takenRoom } from '#jobs'
import { type ArmCall, type ArmReply, type ArmRoute, ok } from '../../../arm/call.ts'
import { findMachine } from './machine-commands.ts'

const SUBSCRIPTION = '/subscriptions/{subscription}/providers/Microsoft.Compute'
const ONE = '/subscriptions/{subscription}/resourceGroups/{group}/providers/Microsoft.Compute/virtualMachines/{name}'
const DISK_MIB_MAX = 4095 * 1024

function sizeView({ name, cpus, memoryMib }: MachineSize): Readonly<Record<string, unknown>> {
  return {
    name,
    numberOfCores: cpus,
    memoryInMB: memoryMib,
    maxDataDiskCount: DATA_DISKS_MAX,
    osDiskSizeInMB: DISK_MIB_MAX,
    resourceDiskSizeInMB: 0,
  }
}

async function regionOf(call: ArmCall): Promise<string> {
  const region = normalizeLocation(call.param('location'))
  if ((await findRegion(call.host.catalog, region)) !== undefined) return region
  throw new ArmError('InvalidLocation', `The location '${region}' is not a region of this server.`)
}

async function listSizes(call: ArmCall): Promise<ArmReply> {
  await regionOf(call)
  return ok({ value: MACHINE_SIZES.map(sizeView) })
}

async function listSizesOfMachine(call: ArmCall): Promise<ArmReply> {
  await findMachine(call, call.id.replace(/\/vmSizes$/i, ''))
  return ok({ value: MACHINE_SIZES.map(sizeView) })
}

function skuView({ name, cpus, memoryMib }: MachineSize, locations: readonly string[]) {
  const [tier, ...words] = name.split('_')
  const size = words.join('_')
  const capabilities = {
    vCPUs: String(cpus),
    MemoryGB: String(memoryMib / 1024),
    MaxDataDiskCount: String(DATA_DISKS_MAX),
    OSVhdSizeMB: String(DISK_MIB_MAX),
    HyperVGenerations: 'V1,V2',
    PremiumIO: 'True',
    CpuArchitectureType: 'x64',
    MaxNetworkInterfaces: '4',
    LowPriorityCapable: 'False',
    EphemeralOSDiskSupported: 'False',
    AcceleratedNetworkingEnabled: 'False',
    vCPUsAvailable: String(cpus),
    vCPUsPerCore: '1',
  }
  return {
    resourceType: 'virtualMachines',
    name,
    tier,
    size,
    family: `${name.replace(/\d.*$/, '').replace('Standard_', 'standard')}Family`,
    locations,
    locationInfo: locations.map((location) => ({ location, zones: [], zoneDetails: [] })),
    capabilities: Object.entries(capabilities).map(([key, value]) => ({ name: key, value })),
    restrictions: [],
  }
}

/** `$filter=location eq 'eastus'`. */
async function listSkus(call: ArmCall): Promise<ArmReply> {
  const regions = (await listRegions(call.host.catalog)).map(({ name }) => name)
  const asked = equalTo(parseFilter(call.query('$filter')), 'location')
  const locations = asked === undefined ? regions : regions.filter((name) => name === normalizeLocation(asked))
  return ok({ value: locations.length === 0 ? [] : MACHINE_SIZES.map((size) => skuView(size, locations)) })
}

function usage(name: string, localizedValue: string, currentValue: number, limit: number) {
  return { unit: 'Count', currentValue, limit, name: { value: name, localizedValue } }
}

/** What no host could give is shown as the largest that clients read. */
const LIMIT_MAX = 2 ** 31 - 1

async function listUsages(call: ArmCall): Promise<ArmReply> {
  const { catalog } = call.host
  const region = await regionOf(call)
  const room = await hostRoom(catalog)
  const taken = await takenRoom(catalog, '')
  const machines = (await listOwnMachines(catalog)).filter(({ record }) => record.location === region)
  const disks = (await listResources(catalog, { type: 'Microsoft.Compute/disks' })).filter(
    ({ location }) => location === region,
  )
  const sum = (of: (one: (typeof taken)[number]) => number): number => taken.reduce((total, one) => total + of(one), 0)
  return ok({
    value: [
      usage(
        'cores',
        'Processors of machines that hold their host',
        sum(({ cpus }) => cpus),
        Math.min(LIMIT_MAX, room.cpus),
      ),
      usage(
        'memoryMib',
        'Memory (MiB) of machines that hold their host',
        sum(({ memoryMib }) => memoryMib),
        Math.min(LIMIT_MAX, room.memoryMib),
      ),
      usage('virtualMachines', 'Virtual Machines', machines.length, LIMIT_MAX),
      usage('disks', 'Disks', disks.length, LIMIT_MAX),
    ],
  })
}

export const machineSizeRoutes: readonly ArmRoute[] = [
  {
    method: 'GET',
    path: `${SUBSCRIPTION}/locations/{location}/vmSizes`,
    action: 'Microsoft.Compute/locations/vmSizes/read',
    access: 'entered',
    handle: listSizes,
  },
  {
    method: 'GET',
    path: `${SUBSCRIPTION}/locations/{location}/usages`,
    action: 'Microsoft.Compute/locations/usages/read',
    handle: listUsages,
  },
  {
    method: 'GET',
    path: `${SUBSCRIPTION}/skus`,
    action: 'Microsoft.Compute/skus/read',
    access: 'entered',
    handle: listSkus,
  },
  {
    method: 'GET',
    path: `${ONE}/vmSizes`,
    action: 'Microsoft.Compute/virtualMachines/vmSizes/read',
    handle: listSizesOfMachine,
  },
]
