/** The body of a restore as what is wanted: every field checked by its table and by itself, nothing looked up yet. */
import { ArmError, parseIdOfType, parseResourceId, readLocation, type ResourceId, sameId } from '#contract'
import { MACHINE_TYPE, type RestoreKind, SUBNET_TYPE } from '#jobs'
import { checkFields, fieldAt } from '../../../arm/field-table.ts'
import { objectBody } from '../../../arm/json-body.ts'
import { STORAGE_TYPE } from '../../../blob/storage-files.ts'
import { RECOVERY_TYPES, RESTORE_FIELDS, RESTORE_OBJECT } from './restore-fields.ts'

const P = 'properties.'
const OS_LUN = -1
const LUN_MAX = 63

export type RestoreRequest = Readonly<{
  kind: RestoreKind
  pointName: string | undefined
  sourceId: ResourceId | undefined
  region: string | undefined
  group: ResourceId | undefined
  storage: ResourceId | undefined
  machine: ResourceId | undefined
  network: ResourceId | undefined
  subnet: ResourceId | undefined
  zones: readonly string[]
  /** Null: all. */
  luns: readonly number[] | null
  instant: boolean
}>

const KIND_OF: Readonly<Record<(typeof RECOVERY_TYPES)[number], RestoreKind>> = {
  RestoreDisks: 'disks',
  AlternateLocation: 'machine',
  OriginalLocation: 'replace',
}

export function invalid(field: string, message: string): ArmError {
  return new ArmError('InvalidParameter', message, { target: `${P}${field}` })
}

function textAt(body: unknown, field: string): string | undefined {
  const value = fieldAt(body, `${P}${field}`)
  if (value === undefined || value === '') return undefined
  if (typeof value === 'string') return value
  throw invalid(field, `'${field}' must be a text.`)
}

function idAt(body: unknown, field: string, type?: string): ResourceId | undefined {
  const text = textAt(body, field)
  if (text === undefined) return undefined
  const target = `${P}${field}`
  return type === undefined ? parseResourceId(text, target) : parseIdOfType(text, type, target)
}

/** A group's id, or the id of something in it, as Azure takes it. */
function groupAt(body: unknown): ResourceId | undefined {
  const id = idAt(body, 'targetResourceGroupId')
  if (id === undefined || (id.group !== undefined && id.type === undefined)) return id
  throw invalid('targetResourceGroupId', `'${id.text}' is not the id of a resource group.`)
}

function lunsAt(body: unknown, kind: RestoreKind): readonly number[] | null {
  const field = 'restoreDiskLunList'
  const given = fieldAt(body, `${P}${field}`)
  if (given === undefined) return null
  const isList =
    Array.isArray(given) && given.every((one) => Number.isSafeInteger(one) && one >= OS_LUN && one <= LUN_MAX)
  if (!isList)
    throw invalid(field, `'${field}' must be a list of LUNs: 0 to ${LUN_MAX}, or -1 for the operating system’s disk.`)
  if (kind !== 'disks') {
    if (given.length === 0) return null
    throw invalid(field, 'Only RestoreDisks takes a part of the disks.')
  }
  const luns = new Set(given as number[])
  if (!luns.has(OS_LUN)) luns.add(OS_LUN)
  return [...luns].toSorted((a, b) => a - b)
}

function zonesAt(body: unknown): readonly string[] {
  const given = fieldAt(body, `${P}zones`) ?? []
  if (Array.isArray(given) && given.every((one) => typeof one === 'string')) return given
  throw invalid('zones', "'zones' must be a list of texts.")
}

function kindOf(body: unknown): RestoreKind {
  const given = textAt(body, 'recoveryType')
  const known = RECOVERY_TYPES.find((type) => sameId(type, given ?? ''))
  if (known !== undefined) return KIND_OF[known]
  throw invalid('recoveryType', `'recoveryType' must be one of ${RECOVERY_TYPES.join(', ')}.`)
}

function checkTogether({ kind, group, machine, subnet, instant }: RestoreRequest): void {
  if (kind === 'disks' && group === undefined)
    throw invalid(
      'targetResourceGroupId',
      'RestoreDisks needs the resource group of the disks: unmanaged disks, which Azure restores without it, do not exist here.',
    )
  if (kind === 'machine' && machine === undefined)
    throw invalid('targetVirtualMachineId', 'AlternateLocation needs the id of the machine that is to be made.')
  if (kind === 'machine' && subnet === undefined)
    throw invalid('subnetId', 'AlternateLocation needs a virtual network and a subnet of it.')
  if (kind !== 'machine' && instant)
    throw invalid('holdfastInstant', 'Only AlternateLocation makes a machine that could run at once.')
}

/** @throws ArmError */
export function readRestoreRequest(given: unknown): RestoreRequest {
  const body = objectBody(given)
  if (fieldAt(body, 'properties') === undefined)
    throw new ArmError('InvalidRequestContent', 'A restore needs properties.', { target: 'properties' })
  checkFields(RESTORE_FIELDS, body)
  if (textAt(body, 'objectType') === undefined)
    throw invalid('objectType', `'objectType' is required: ${RESTORE_OBJECT}.`)
  const kind = kindOf(body)
  const region = textAt(body, 'region')
  const request: RestoreRequest = {
    kind,
    pointName: textAt(body, 'recoveryPointId'),
    sourceId: idAt(body, 'sourceResourceId'),
    region: region === undefined ? undefined : readLocation(region),
    group: groupAt(body),
    storage: idAt(body, 'storageAccountId', STORAGE_TYPE),
    machine: idAt(body, 'targetVirtualMachineId', MACHINE_TYPE),
    network: idAt(body, 'virtualNetworkId'),
    subnet: idAt(body, 'subnetId', SUBNET_TYPE),
    zones: zonesAt(body),
    luns: lunsAt(body, kind),
    instant: fieldAt(body, `${P}holdfastInstant`) === true,
  }
  checkTogether(request)
  return request
}
