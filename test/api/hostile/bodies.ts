/** Requests that would be done if one thing in their body were not wrong. */
import type { SeededRandom } from '#base'
import { type HostileRequest, JUNK, type Kind, type Target, valueAt, VERSION, withValue } from './request.ts'

type Template = Readonly<{
  method: string
  path: (target: Target, name: string) => string
  body: (target: Target) => unknown
  /** Fields, by dots, in which nothing of JUNK is right, but what `takes` says. */
  strict: readonly string[]
  takes?: Readonly<Record<string, 'boolean' | 'string'>>
  /** Fields without which it is not done. */
  needs: readonly string[]
  /** Objects, by dots, in which an unknown field is refused. */
  closed: readonly string[]
}>

const inGroup = (type: string) => (target: Target, name: string) => `${target.group}/providers/${type}/${name}`

function policyBody(): unknown {
  const time = '2026-11-22T22:00:00Z'
  return {
    properties: {
      backupManagementType: 'AzureIaasVM',
      policyType: 'V1',
      timeZone: 'UTC',
      instantRpRetentionRangeInDays: 2,
      schedulePolicy: {
        schedulePolicyType: 'SimpleSchedulePolicy',
        scheduleRunFrequency: 'Daily',
        scheduleRunTimes: [time],
      },
      retentionPolicy: {
        retentionPolicyType: 'LongTermRetentionPolicy',
        dailySchedule: { retentionTimes: [time], retentionDuration: { count: 30, durationType: 'Days' } },
      },
    },
  }
}

export const TEMPLATES: readonly Template[] = [
  {
    method: 'PUT',
    path: (target, name) => `${target.subscription}/resourceGroups/${name}`,
    body: () => ({ location: 'eastus', tags: { a: 'b' } }),
    strict: ['location', 'tags', 'tags.a'],
    takes: { 'tags.a': 'string' },
    needs: ['location'],
    closed: [''],
  },
  {
    method: 'PUT',
    path: inGroup('Microsoft.Compute/disks'),
    body: () => ({
      location: 'eastus',
      tags: { a: 'b' },
      sku: { name: 'Standard_LRS' },
      properties: {
        diskSizeGB: 1,
        osType: 'Linux',
        networkAccessPolicy: 'AllowAll',
        creationData: { createOption: 'Empty' },
      },
    }),
    strict: [
      'location',
      'tags',
      'sku',
      'sku.name',
      'properties',
      'properties.diskSizeGB',
      'properties.osType',
      'properties.networkAccessPolicy',
      'properties.creationData',
      'properties.creationData.createOption',
      'properties.creationData.sourceResourceId',
      'properties.creationData.sourceUri',
      'properties.encryption.type',
      'properties.maxShares',
    ],
    needs: ['location', 'properties', 'properties.creationData', 'properties.diskSizeGB'],
    closed: ['', 'sku', 'properties', 'properties.creationData', 'properties.encryption'],
  },
  {
    method: 'PUT',
    path: inGroup('Microsoft.Compute/snapshots'),
    body: ({ disk }) => ({
      location: 'eastus',
      sku: { name: 'Standard_LRS' },
      properties: { incremental: true, creationData: { createOption: 'Copy', sourceResourceId: disk } },
    }),
    strict: [
      'location',
      'tags',
      'sku.name',
      'properties',
      'properties.incremental',
      'properties.creationData',
      'properties.creationData.createOption',
      'properties.creationData.sourceResourceId',
      'properties.networkAccessPolicy',
    ],
    takes: { 'properties.incremental': 'boolean' },
    needs: ['location', 'properties.creationData.createOption', 'properties.creationData.sourceResourceId'],
    closed: ['', 'sku', 'properties', 'properties.creationData'],
  },
  {
    method: 'PUT',
    path: (target, name) => inGroup('Microsoft.Storage/storageAccounts')(target, name.toLowerCase()),
    body: () => ({
      location: 'eastus',
      kind: 'StorageV2',
      sku: { name: 'Standard_LRS' },
      properties: { publicNetworkAccess: 'Enabled' },
    }),
    strict: ['location', 'tags', 'kind', 'properties', 'properties.publicNetworkAccess', 'properties.isHnsEnabled'],
    takes: { 'properties.isHnsEnabled': 'boolean' },
    needs: ['location'],
    closed: ['', 'sku', 'properties'],
  },
  {
    method: 'PUT',
    path: inGroup('Microsoft.Resources/deployments'),
    body: () => ({
      properties: { mode: 'Incremental', template: { contentVersion: '1.0.0.0', resources: [] }, parameters: {} },
    }),
    strict: [
      'properties',
      'properties.mode',
      'properties.template',
      'properties.template.resources',
      'properties.template.outputs',
      'properties.parameters',
    ],
    needs: ['properties', 'properties.template'],
    closed: ['', 'properties', 'properties.template'],
  },
  {
    method: 'PUT',
    path: inGroup('Microsoft.Authorization/locks'),
    body: () => ({ properties: { level: 'CanNotDelete', notes: 'n' } }),
    strict: ['properties', 'properties.level', 'properties.notes'],
    takes: { 'properties.notes': 'string' },
    needs: ['properties', 'properties.level'],
    closed: ['', 'properties'],
  },
  {
    method: 'PUT',
    path: ({ group }, name) =>
      `${group}/providers/Microsoft.Authorization/roleAssignments/${Buffer.from(name.padEnd(16, 'x'))
        .toString('hex')
        .replace(/^(.{8})(.{4})(.{4})(.{4})(.{12}).*$/, '$1-$2-$3-$4-$5')}`,
    body: ({ subscription, principal }) => ({
      properties: {
        principalId: principal,
        roleDefinitionId: `${subscription}/providers/Microsoft.Authorization/roleDefinitions/acdd72a7-3385-48ef-bd42-f606fba81ae7`,
      },
    }),
    strict: [
      'properties',
      'properties.principalId',
      'properties.roleDefinitionId',
      'properties.principalType',
      'properties.description',
      'properties.condition',
    ],
    takes: { 'properties.description': 'string' },
    needs: ['properties', 'properties.principalId', 'properties.roleDefinitionId'],
    closed: [],
  },
  {
    method: 'PUT',
    path: ({ group }) => `${group}/providers/Microsoft.Resources/tags/default`,
    body: () => ({ properties: { tags: { a: 'b' } } }),
    strict: ['properties', 'properties.tags', 'properties.tags.a'],
    takes: { 'properties.tags.a': 'string' },
    needs: ['properties', 'properties.tags'],
    closed: [],
  },
  {
    method: 'PATCH',
    path: ({ disk }) => disk,
    body: () => ({ tags: { a: 'b' }, properties: { diskSizeGB: 1 } }),
    strict: ['tags', 'location', 'properties', 'properties.diskSizeGB', 'properties.creationData'],
    needs: [],
    closed: ['', 'properties'],
  },
  {
    method: 'PUT',
    path: inGroup('Microsoft.RecoveryServices/vaults'),
    body: () => ({ location: 'eastus', sku: { name: 'Standard' }, properties: { publicNetworkAccess: 'Enabled' } }),
    strict: [
      'location',
      'tags',
      'sku',
      'sku.name',
      'identity.type',
      'properties',
      'properties.publicNetworkAccess',
      'properties.encryption',
      'properties.redundancySettings',
      'properties.redundancySettings.standardTierStorageRedundancy',
      'properties.redundancySettings.crossRegionRestore',
      'properties.securitySettings',
      'properties.securitySettings.softDeleteSettings.softDeleteState',
      'properties.securitySettings.softDeleteSettings.softDeleteRetentionPeriodInDays',
      'properties.securitySettings.immutabilitySettings.state',
      'properties.securitySettings.immutabilitySettings.configuration.durationInDays',
    ],
    needs: ['location'],
    closed: ['', 'sku', 'properties', 'properties.redundancySettings', 'properties.securitySettings'],
  },
  {
    method: 'PATCH',
    path: ({ vault }) => `${vault}/backupconfig/vaultconfig`,
    body: () => ({ properties: { softDeleteRetentionPeriodInDays: 14 } }),
    strict: ['properties', 'properties.softDeleteRetentionPeriodInDays', 'properties.softDeleteFeatureState'],
    needs: [],
    closed: ['', 'properties'],
  },
  {
    method: 'PUT',
    path: ({ vault }, name) => `${vault}/backupPolicies/${name}`,
    body: () => policyBody(),
    strict: [
      'properties',
      'properties.backupManagementType',
      'properties.policyType',
      'properties.timeZone',
      'properties.instantRpRetentionRangeInDays',
      'properties.snapshotConsistencyType',
      'properties.holdfastLimits.hours',
      'properties.schedulePolicy',
      'properties.schedulePolicy.schedulePolicyType',
      'properties.schedulePolicy.scheduleRunFrequency',
      'properties.schedulePolicy.scheduleRunTimes',
      'properties.retentionPolicy',
      'properties.retentionPolicy.retentionPolicyType',
      'properties.retentionPolicy.dailySchedule',
      'properties.retentionPolicy.dailySchedule.retentionTimes',
      'properties.retentionPolicy.dailySchedule.retentionDuration.count',
      'properties.retentionPolicy.dailySchedule.retentionDuration.durationType',
      'properties.retentionPolicy.weeklySchedule',
      'properties.retentionPolicy.monthlySchedule',
    ],
    needs: [
      'properties',
      'properties.schedulePolicy',
      'properties.schedulePolicy.scheduleRunTimes',
      'properties.retentionPolicy',
      'properties.retentionPolicy.dailySchedule',
    ],
    closed: ['', 'properties', 'properties.schedulePolicy', 'properties.retentionPolicy'],
  },
  {
    method: 'POST',
    path: (target, name) => `${inGroup('Holdfast.Protection/consistencyGroups')(target, name)}/createSnapshots`,
    body: ({ disk }) => ({ disks: [disk], incremental: false }),
    strict: ['disks', 'machines', 'incremental', 'namePattern', 'consistency', 'strict', 'tags'],
    takes: { incremental: 'boolean', strict: 'boolean' },
    needs: ['disks'],
    closed: [''],
  },
  {
    method: 'POST',
    path: ({ snapshot }) => `${snapshot}/beginGetAccess`,
    body: () => ({ access: 'Read', durationInSeconds: 60 }),
    strict: ['access', 'durationInSeconds', 'fileFormat'],
    needs: ['access', 'durationInSeconds'],
    closed: [''],
  },
  {
    method: 'POST',
    path: (target, name) => `${inGroup('Microsoft.Compute/virtualMachines')(target, name)}/adopt`,
    body: () => ({ location: 'eastus', qmp: '/nowhere/qmp' }),
    strict: ['location', 'qmp', 'agent', 'osType', 'tags'],
    takes: {},
    needs: ['location', 'qmp'],
    closed: [''],
  },
]

const split = (path: string): string[] => (path === '' ? [] : path.split('.'))
const freshName = (random: SeededRandom): string => `new${random.below(1_000_000).toString(36)}`

function sent(template: Template, random: SeededRandom, target: Target, kind: string, body: unknown): HostileRequest {
  const path = `${template.path(target, freshName(random))}?${VERSION}`
  return { kind, method: template.method, path, body: JSON.stringify(body), shape: 'arm' }
}

function junkFor(random: SeededRandom, { takes }: Template, path: string): unknown {
  for (;;) {
    const junk = random.pick(JUNK)
    if (typeof junk === takes?.[path]) continue
    // It is the path of a socket as well as any.
    if ((path === 'qmp' || path === 'agent') && junk === '/subscriptions') continue
    return junk
  }
}

/** A field of the wrong type or out of its bounds. */
export const wrongValue: Kind = (random, target) => {
  const template = random.pick(TEMPLATES)
  const path = random.pick(template.strict)
  const body = withValue(template.body(target), split(path), junkFor(random, template, path))
  return sent(template, random, target, `junk at ${path}`, body)
}

/** The right value, in a list or in an object of its own. */
export const wrappedValue: Kind = (random, target) => {
  const usable = TEMPLATES.filter(({ needs }) => needs.length > 0)
  const template = random.pick(usable)
  const path = random.pick(template.needs)
  const value = valueAt(template.body(target), split(path))
  const wrapped = random.chance(0.5) ? [value] : { value }
  return sent(template, random, target, `wrapped ${path}`, withValue(template.body(target), split(path), wrapped))
}

export const missingValue: Kind = (random, target) => {
  const template = random.pick(TEMPLATES.filter(({ needs }) => needs.length > 0))
  const path = random.pick(template.needs)
  const without = random.chance(0.5) ? undefined : null
  return sent(template, random, target, `no ${path}`, withValue(template.body(target), split(path), without))
}

export const unknownField: Kind = (random, target) => {
  const template = random.pick(TEMPLATES.filter(({ closed }) => closed.length > 0))
  const at = random.pick(template.closed)
  const name = random.pick([
    'isAdmin',
    '__proto__x',
    'toString',
    'ünïcode',
    'provisioningStat',
    '$where',
    'x'.repeat(300),
  ])
  const body = withValue(template.body(target), [...split(at), name], random.pick([1, 'x', true, { a: 1 }, [1]]))
  return sent(template, random, target, `unknown ${at}.${name.slice(0, 20)}`, body)
}

/** No object at all, or no JSON. */
export const noObject: Kind = (random, target) => {
  const template = random.pick(TEMPLATES.filter(({ needs }) => needs.length > 0))
  const whole = JSON.stringify(template.body(target))
  const body = random.pick<string | Uint8Array>([
    '',
    ' ',
    'null',
    '[]',
    '5',
    'true',
    '"x"',
    'NaN',
    '{',
    '{"location"',
    "{'location':'eastus'}}",
    `${whole}${whole}`,
    whole.slice(0, -1),
    whole.slice(1),
    '\u0000',
    '\ufeff\ufeff{}',
    '<xml/>',
    Uint8Array.from([0xff, 0xfe, 0x7b, 0x7d]),
    random.bytes(1 + random.below(200)),
  ])
  return { ...sent(template, random, target, 'no object', null), body }
}

export const tooDeep: Kind = (random, target) => {
  const template = random.pick(TEMPLATES)
  const depth = random.pick([70, 200, 3000, 50_000])
  const [open, close] = random.pick([
    ['[', ']'],
    ['{"a":', '}'],
  ] as const)
  const deep = `${open.repeat(depth)}0${close.repeat(depth)}`
  const body = JSON.stringify(withValue(template.body(target), ['tags'], '@')).replace('"@"', deep)
  return { ...sent(template, random, target, `depth ${depth}`, null), body }
}

export const tooMuch: Kind = (random, target) => {
  const template = random.pick(TEMPLATES.filter(({ strict }) => strict.includes('tags')))
  const tags = random.pick<() => unknown>([
    () => Object.fromEntries(Array.from({ length: 51 + random.below(500) }, (_, at) => [`t${at}`, 'x'])),
    () => ({ ['n'.repeat(513)]: 'x' }),
    () => ({ a: 'v'.repeat(257 + random.below(100_000)) }),
    () => ({ 'a/b': 'x' }),
    () => ({ a: 'x', A: 'y' }),
    () => ({ '': 'x' }),
  ])()
  return sent(template, random, target, 'tags', withValue(template.body(target), ['tags'], tags))
}

/** Templates of which one resource is none, or which say what cannot be evaluated. */
export const badTemplate: Kind = (random, target) => {
  const good = {
    type: 'Microsoft.Compute/disks',
    apiVersion: '2023-04-02',
    name: 'td',
    location: 'eastus',
    properties: { diskSizeGB: 1, creationData: { createOption: 'Empty' } },
  }
  const [path, value] = random.pick<readonly [string, unknown]>([
    ['type', random.pick(['Nobody.Here/things', 'Microsoft.Compute/disks/x', '', 5, '\ud800/x'])],
    ['name', random.pick(['', 5, 'a/b', "[concat('a']", '[nope()]', "[parameters('nope')]", '[copyIndex()]', "[resourceId('x')]"])],
    ['apiVersion', random.pick(['', 5, null, {}])],
    ['dependsOn', random.pick(['td', ['nobody'], ['td'], [5], "[resourceId('Microsoft.Compute/disks','nobody')]"])],
    ['copy', random.pick([{ name: 'c', count: -1 }, { name: 'c', count: 100_000 }, { name: 'c', count: 'x' }, { count: 2 }, 5])],
    ['condition', random.pick(["[add('x', 1)]", 'maybe', { x: 1 }])],
    ['scope', '/subscriptions/0b1f6471-1bf0-4dda-aec3-cb9272f09590'],
    ['location', `[${'add('.repeat(random.pick([10, 5000]))}]`],
    ['resources', random.pick(['x', 5, [5]])],
  ]) // prettier-ignore
  const resources = random.chance(0.1) ? [good, good] : [withValue(good, [path], value)]
  const template = { $schema: 'x', contentVersion: '1.0.0.0', resources }
  const url = `${target.group}/providers/Microsoft.Resources/deployments/${freshName(random)}?${VERSION}`
  const body = JSON.stringify({ properties: { mode: 'Incremental', template } })
  return { kind: `template ${path}`, method: 'PUT', path: url, body, shape: 'arm' }
}
