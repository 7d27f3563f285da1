/**
 * Every id that a body may name is asked for with the caller's own roles: who may do everything in one group and nothing in
 * another is refused whatever of that other group a body names, whether it is there or not, and nothing is made.
 */
import assert from 'node:assert/strict'
import { readdir, readFile } from 'node:fs/promises'
import { test } from 'node:test'
import { insertResource, listResources } from '#catalog'
import { BUILT_IN_ROLES } from '#domain'
import { type Answer, ApiWorld, type Ask, followed, VERSION } from './api-world.ts'

type Failure = { error: { code: string; message: string } }
type Case = Readonly<{
  /** The field that names it, as docs/api has it. */
  field: string
  what: string
  method: 'PUT' | 'POST'
  /** Below the caller's own group. */
  path: string
  body: (source: string) => unknown
}>

const COMPUTE = 'Microsoft.Compute'
const GROUPS = 'Holdfast.Protection/consistencyGroups'
const roleNamed = (name: string): string => BUILT_IN_ROLES.find((role) => role.name === name)?.id ?? assert.fail(name)

const made = (createOption: string, field: string, id: string): unknown => ({
  location: 'eastus',
  properties: { creationData: { createOption, [field]: id } },
})
const imageOf = (storageProfile: object): unknown => ({
  location: 'eastus',
  properties: { storageProfile: { ...storageProfile, dataDisks: [] } },
})
const osDiskOf = (source: object): unknown =>
  imageOf({ osDisk: { osType: 'Linux', osState: 'Generalized', ...source } })
const dataDiskOf = (source: string, more: object): unknown => ({
  location: 'eastus',
  properties: {
    storageProfile: {
      osDisk: { osType: 'Linux', osState: 'Generalized', managedDisk: { id: own(source, 'disks/own') } },
      dataDisks: [{ lun: 0, ...more }],
    },
  },
})
/** Of the caller's own group, whichever group the other things are of. */
const own = (source: string, path: string): string =>
  `${source.replace(/source(x?)$/, 'target')}/providers/${COMPUTE}/${path}`
const at = (source: string, path: string): string => `${source}/providers/${COMPUTE}/${path}`

const IMAGE_CASES: readonly Case[] = (
  [
    ['properties.sourceVirtualMachine.id', 'a machine', (source) => ({ location: 'eastus', properties: { sourceVirtualMachine: { id: at(source, 'virtualMachines/m') } } })],
    ['properties.storageProfile.osDisk.managedDisk.id', 'a disk', (source) => osDiskOf({ managedDisk: { id: at(source, 'disks/d') } })],
    ['properties.storageProfile.osDisk.snapshot.id', 'a snapshot', (source) => osDiskOf({ snapshot: { id: at(source, 'snapshots/s') } })],
    ['managedDisk.id', 'a data disk', (source) => dataDiskOf(source, { managedDisk: { id: at(source, 'disks/d') } })],
    ['snapshot.id', 'a snapshot of a data disk', (source) => dataDiskOf(source, { snapshot: { id: at(source, 'snapshots/s') } })],
  ] as const satisfies readonly (readonly [string, string, Case['body']])[]
).map(([field, what, body]) => ({ field, what: `an image of ${what}`, method: 'PUT', path: `${COMPUTE}/images/new`, body })) // prettier-ignore

const machineOf = (source: string, storageProfile: object, nic = 'networkInterfaces/own'): unknown => ({
  location: 'eastus',
  properties: {
    hardwareProfile: { vmSize: 'Standard_B1ls' },
    storageProfile,
    networkProfile: {
      networkInterfaces: [
        {
          id: nic.endsWith('own')
            ? own(source, nic).replace(COMPUTE, 'Microsoft.Network')
            : at(source, nic).replace(COMPUTE, 'Microsoft.Network'),
        },
      ],
    },
  },
})
const attached = (source: string): object => ({
  osDisk: { createOption: 'Attach', osType: 'Linux', managedDisk: { id: own(source, 'disks/own') } },
})
const MACHINE_CASES: readonly Case[] = [
  ...(
    [
      ['properties.storageProfile.imageReference.id', 'an image', (source) => machineOf(source, { imageReference: { id: at(source, 'images/i') }, osDisk: { createOption: 'FromImage' } })],
      ['properties.storageProfile.osDisk.sourceResource.id', 'a snapshot', (source) => machineOf(source, { osDisk: { createOption: 'Copy', osType: 'Linux', sourceResource: { id: at(source, 'snapshots/s') } } })],
      ['properties.storageProfile.osDisk.managedDisk.id', 'a disk', (source) => machineOf(source, { osDisk: { createOption: 'Attach', osType: 'Linux', managedDisk: { id: at(source, 'disks/d') } } })],
      ['sourceResource.id', 'a snapshot as data disk', (source) => machineOf(source, { ...attached(source), dataDisks: [{ lun: 0, createOption: 'Copy', sourceResource: { id: at(source, 'snapshots/s') } }] })],
      ['managedDisk.id', 'a data disk', (source) => machineOf(source, { ...attached(source), dataDisks: [{ lun: 0, createOption: 'Attach', managedDisk: { id: at(source, 'disks/d') } }] })],
      ['id', 'a card', (source) => machineOf(source, attached(source), 'networkInterfaces/n')],
    ] as const satisfies readonly (readonly [string, string, Case['body']])[]
  ).map(([field, what, body]): Case => ({ field, what: `a machine of ${what}`, method: 'PUT', path: `${COMPUTE}/virtualMachines/new`, body })),
  {
    field: 'properties.creationData.imageReference.id',
    what: 'a disk of an image',
    method: 'PUT',
    path: `${COMPUTE}/disks/new`,
    body: (source) => ({ location: 'eastus', properties: { creationData: { createOption: 'FromImage', imageReference: { id: at(source, 'images/i') } } } }),
  },
  ...['virtualMachines/m', 'restorePointCollections/c'].map((type): Case => ({
    field: 'properties.source.id',
    what: `restore points of ${type}`,
    method: 'PUT',
    path: `${COMPUTE}/restorePointCollections/new`,
    body: (source) => ({ location: 'eastus', properties: { source: { id: at(source, type) } } }),
  })),
] // prettier-ignore

const netAt = (source: string, path: string): string => `${source}/providers/Microsoft.Network/${path}`
const cardOf = (source: string, more: object): unknown => ({
  location: 'eastus',
  properties: {
    ipConfigurations: [
      { name: 'a', properties: { subnet: { id: netAt(source, 'virtualNetworks/v/subnets/s') }, ...more } },
    ],
  },
})
const NETWORK_CASES: readonly Case[] = [
  {
    field: 'properties.ipConfigurations',
    what: 'a card in a subnet',
    method: 'PUT',
    path: 'Microsoft.Network/networkInterfaces/new',
    body: (source) => cardOf(source, {}),
  },
  {
    field: 'properties.subnets',
    what: 'a network with a security group',
    method: 'PUT',
    path: 'Microsoft.Network/virtualNetworks/new',
    body: (source) => ({
      location: 'eastus',
      properties: {
        addressSpace: { addressPrefixes: ['10.9.0.0/16'] },
        subnets: [
          {
            name: 's',
            properties: {
              addressPrefix: '10.9.1.0/24',
              networkSecurityGroup: { id: netAt(source, 'networkSecurityGroups/g') },
            },
          },
        ],
      },
    }),
  },
]

/** One for each type that a body may name. */
const CASES: readonly Case[] = [
  ...['disks/d', 'snapshots/s', 'restorePointCollections/c/restorePoints/p/diskRestorePoints/r'].flatMap((type) =>
    ['Copy', 'Restore'].map((option): Case => ({
      field: 'properties.creationData.sourceResourceId',
      what: `a disk by ${option} of ${type}`,
      method: 'PUT',
      path: `${COMPUTE}/disks/new`,
      body: (source) => made(option, 'sourceResourceId', `${source}/providers/${COMPUTE}/${type}`),
    })),
  ),
  ...(
    [
      ['disks/d', 'Copy'],
      ['snapshots/s', 'Copy'],
      ['snapshots/s', 'CopyStart'],
    ] as const
  ).map(([type, option]): Case => ({
    field: 'properties.creationData.sourceResourceId',
    what: `a snapshot by ${option} of ${type}`,
    method: 'PUT',
    path: `${COMPUTE}/snapshots/new`,
    body: (source) => made(option, 'sourceResourceId', `${source}/providers/${COMPUTE}/${type}`),
  })),
  {
    field: 'disks',
    what: 'snapshots of disks as a group',
    method: 'POST',
    path: `${GROUPS}/new/createSnapshots`,
    body: (source) => ({ disks: [`${source}/providers/${COMPUTE}/disks/d`] }),
  },
  {
    field: 'machines',
    what: 'snapshots of machines as a group',
    method: 'POST',
    path: `${GROUPS}/new/createSnapshots`,
    body: (source) => ({ machines: [`${source}/providers/${COMPUTE}/virtualMachines/m`] }),
  },
  ...IMAGE_CASES,
  ...MACHINE_CASES,
  ...NETWORK_CASES,
]
/** What of the host itself is named: no role inside the subscription is enough. */
const OF_THE_HOST: readonly Case[] = [
  {
    field: 'properties.creationData.sourceUri',
    what: 'a disk of a file',
    method: 'PUT',
    path: `${COMPUTE}/disks/new`,
    body: () => made('Import', 'sourceUri', 'file:///etc/passwd'),
  },
  {
    field: 'path',
    what: 'an image where it lies',
    method: 'POST',
    path: `${COMPUTE}/disks/new/adopt`,
    body: () => ({ location: 'eastus', path: '/etc/passwd' }),
  },
  {
    field: 'machine.qmp',
    what: 'an image with the monitor of its machine',
    method: 'POST',
    path: `${COMPUTE}/disks/new/adopt`,
    body: () => ({ location: 'eastus', path: '/x', machine: { name: 'm', qmp: '/x', agent: '/x' } }),
  },
  {
    field: 'qmp',
    what: 'a machine by its monitor',
    method: 'POST',
    path: `${COMPUTE}/virtualMachines/new/adopt`,
    body: () => ({ location: 'eastus', qmp: '/x', agent: '/x' }),
  },
]
/** Named beside another field of the same rank, or checked with it. */
const WITH_ANOTHER = [
  'agent',
  'machine.agent',
  'properties.creationData.storageAccountId',
  'properties.storageProfile.osDisk.blobUri',
  'blobUri',
  'properties.sourceUri',
  // A disk of the machine itself, by its LUN or id; what is attached is asked for as in a machine.
  'diskId',
  // Restores: asked for by a stranger in restores.test.ts, which has a recovery point.
  'properties.targetVirtualMachineId',
  'properties.targetResourceGroupId',
  'properties.storageAccountId',
  'properties.virtualNetworkId',
  'properties.subnetId',
  // Compared with the point and the machine that the path names.
  'properties.recoveryPointId',
  'properties.sourceResourceId',
  'properties.virtualMachineId',
  // A policy of the vault that the path names.
  'properties.policyId',
  // A word, not an id.
  'commandId',
  // A point of the collection that was asked for when the copy's own was made; asked for again.
  'properties.sourceRestorePoint.id',
]

class LinkedWorld {
  readonly api: ApiWorld
  readonly owner: Ask
  /** May do everything in its group, and nothing elsewhere. */
  readonly stranger: Ask
  readonly source: string
  readonly target: string

  private constructor(api: ApiWorld, owner: Ask, stranger: Ask) {
    this.api = api
    this.owner = owner
    this.stranger = stranger
    this.source = `${api.subscription}/resourceGroups/source`
    this.target = `${api.subscription}/resourceGroups/target`
  }

  static async make(): Promise<LinkedWorld> {
    const api = await ApiWorld.make()
    try {
      const target = `${api.subscription}/resourceGroups/target`
      const roles = ['Owner', 'Contributor', 'Disk Snapshot Contributor'].map(roleNamed)
      const grants = roles.map((role) => ({ role, scope: target }))
      const { ask } = await api.principal('stranger', grants)
      const world = new LinkedWorld(api, await api.asker(), ask)
      await world.#furnish()
      return world
    } catch (error) {
      await api[Symbol.asyncDispose]()
      throw error
    }
  }

  async #furnish(): Promise<void> {
    for (const group of [this.source, this.target])
      assert.equal((await this.owner('PUT', `${group}?${VERSION}`, { location: 'eastus' })).status, 201)
    const account = `${this.source}/providers/Microsoft.Storage/storageAccounts/theirs?${VERSION}`
    assert.equal((await this.owner('PUT', account, { location: 'eastus' })).status, 200)
    const properties = { diskSizeBytes: 1 << 20, diskSizeGB: 1, diskState: 'Unattached', uniqueId: 'u' }
    const mine = { file: '/nowhere/own', format: 'qcow2' }
    const records = {
      'disks/d': { file: '/nowhere', format: 'raw' },
      'snapshots/s': { version: { region: 'eastus', point: 'p', disk: 'd' } },
      'virtualMachines/m': { adopted: true, qmp: '/nowhere' },
    }
    const all = Object.entries(records).map(([path, backing]) => [this.source, path, backing] as const)
    for (const [group, path, backing] of [...all, [this.target, 'disks/own', mine] as const]) {
      const [type = '', name = ''] = path.split('/')
      const record = {
        id: `${group}/providers/${COMPUTE}/${path}`,
        subscription: this.api.record.subscriptionId,
        group,
        type: `${COMPUTE}/${type}`,
        name,
        location: 'eastus',
        tags: {},
        state: 'Succeeded',
        body: { properties },
        backing,
      }
      const source = { nowMs: () => 1, newEtag: () => 'W/"e"' }
      await this.api.catalog.write((trx) => insertResource(trx, record, source).then(() => undefined))
    }
  }

  send(ask: Ask, { method, path, body }: Case, source: string): Promise<Answer<Failure>> {
    return ask<Failure>(method, `${this.target}/providers/${path}?${VERSION}`, body(source))
  }

  async names(): Promise<string[]> {
    return (await listResources(this.api.catalog, {})).map(({ id }) => id).sort()
  }
}

test('An id in a body is asked for with the roles of who asks', async (t) => {
  const world = await LinkedWorld.make()
  const { api, source, target, owner, stranger } = world
  await using _ = api
  const before = await world.names()

  await t.test('whatever is named, of a group in which the caller has no role, is refused', async () => {
    for (const one of [...CASES, ...OF_THE_HOST]) {
      const { status, body, text } = await world.send(stranger, one, source)
      assert.deepEqual([status, body.error?.code], [403, 'LinkedAuthorizationFailed'], `${one.what}: ${text}`)
    }
    assert.deepEqual(await world.names(), before)
  })

  await t.test('what is not there is refused with the same words: nobody learns names', async () => {
    for (const one of CASES) {
      const there = (await world.send(stranger, one, source)).body.error
      const absent = (await world.send(stranger, one, `${source}x`)).body.error
      assert.deepEqual({ ...absent, message: absent.message.replaceAll(`${source}x`, source) }, there, one.what)
    }
  })

  await t.test('canary: who has the roles gets past this check', async () => {
    for (const one of CASES) {
      const { body, status } = await world.send(owner, one, `${source}x`)
      assert.ok(status >= 400 && body.error.code !== 'LinkedAuthorizationFailed', one.what)
    }
  })

  await t.test('a blob of a storage account takes the right to its keys, under either name', async () => {
    const blob = `${api.record.endpoint}/theirs/vhds/a.vhd`
    const account = `${source}/providers/Microsoft.Storage/storageAccounts/theirs`
    const image = `${target}/providers/${COMPUTE}/images/new?${VERSION}`
    const { status: refused, body: why } = await stranger<Failure>('PUT', image, osDiskOf({ blobUri: blob }))
    assert.deepEqual([refused, why.error?.code], [403, 'LinkedAuthorizationFailed'])
    for (const more of [{}, { storageAccountId: account }, { storageAccountId: `${target}/x` }]) {
      const creationData = { createOption: 'Import', sourceUri: blob, ...more }
      const url = `${target}/providers/${COMPUTE}/disks/new?${VERSION}`
      const { status, body, text } = await stranger<Failure>('PUT', url, {
        location: 'eastus',
        properties: { creationData },
      })
      assert.deepEqual([status, body.error?.code], [403, 'LinkedAuthorizationFailed'], text)
    }
    assert.deepEqual(await world.names(), before)
  })

  await t.test('a deployment may no more than who deploys: linked ids, references, other scopes', async () => {
    const [copy] = CASES
    assert.ok(copy !== undefined)
    const disk = { type: `${COMPUTE}/disks`, apiVersion: '2023-04-02', name: 'new', ...(copy.body(source) as object) }
    const theirs = `${source}/providers/${COMPUTE}/disks/d`
    const lock = {
      type: 'Microsoft.Authorization/locks',
      apiVersion: '2020-05-01',
      name: 'l',
      properties: { level: 'ReadOnly' },
    }
    const templates: readonly (readonly [template: object, code: RegExp])[] = [
      [{ resources: [disk] }, /LinkedAuthorizationFailed/],
      [{ resources: [], outputs: { x: { type: 'object', value: `[reference('${theirs}', '2023-04-02')]` } } }, /AuthorizationFailed|does not have authorization/],
      [{ resources: [{ ...lock, scope: theirs }] }, /Authorization failed|another group/],
      [{ resources: [{ ...lock, scope: api.subscription }] }, /Authorization failed|another group/],
    ] // prettier-ignore
    for (const [index, [template, code]] of templates.entries()) {
      const url = `${target}/providers/Microsoft.Resources/deployments/d${index}?${VERSION}`
      const put = await stranger<Failure>('PUT', url, { properties: { mode: 'Incremental', template } })
      const end = put.status === 201 ? await followed<Failure>(stranger, put) : put
      assert.match(JSON.stringify(end.body.error), code, end.text)
    }
    const left = (await world.names()).filter((id) => !before.includes(id))
    assert.ok(
      left.every((id) => id.includes('/deployments/')),
      left.join('\n'),
    )
  })

  await t.test('every field of docs/api that may name something is walked here', async () => {
    const walked = new Set([...CASES, ...OF_THE_HOST].map(({ field }) => field))
    const names = /(Id|Ids|\.id|Uri|Link|qmp|agent|path)$|^(disks|machines)$/
    let found = 0
    for (const file of await readdir('docs/api'))
      for (const [, field = '', use] of (await readFile(`docs/api/${file}`, 'utf8')).matchAll(
        /^\| `([^`]+)` \| (\S+) \|/gm,
      )) {
        if (!names.test(field) || (use !== 'honoured' && use !== 'stored')) continue
        found += 1
        assert.ok(walked.has(field) || WITH_ANOTHER.includes(field), `${file}: ${field}`)
      }
    assert.ok(found >= 8, `${found} fields`)
  })
})
