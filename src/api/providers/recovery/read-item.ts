/** What the body of a protected item's PUT asks for. */
import type { DiskExclusion } from '#catalog'
import { ArmError, parseIdOfType, type ResourceId } from '#contract'
import { POLICY_TYPE } from '#jobs'
import { checkFields, fieldAt } from '../../arm/field-table.ts'
import { objectBody } from '../../arm/json-body.ts'
import { ITEM_FIELDS } from './item-fields.ts'
import { MACHINE } from './item-view.ts'

const EXCLUSION = 'properties.extendedProperties.diskExclusionProperties'
const LUN_MAX = 63

export type ItemWish =
  | Readonly<{ kind: 'undelete' }>
  | Readonly<{ kind: 'stop'; state: 'ProtectionStopped' | 'BackupsSuspended' }>
  | Readonly<{
      kind: 'protect'
      policy: ResourceId
      /** Undefined: as before; null: none any more. */
      exclusion: DiskExclusion | null | undefined
    }>

function invalid(target: string, message: string): ArmError {
  return new ArmError('InvalidParameter', message, { target })
}

/** Replaces what there was; absent, nothing is said about it. @throws ArmError */
export function readExclusion(body: unknown): DiskExclusion | null | undefined {
  const outer = fieldAt(body, 'properties')
  const isSaid =
    typeof outer === 'object' && outer !== null && 'extendedProperties' in outer && outer.extendedProperties !== null
  if (!isSaid) return undefined
  const given = fieldAt(body, EXCLUSION)
  if (given === undefined) return null
  const [luns, isInclusionList] = [fieldAt(given, 'diskLunList') ?? [], fieldAt(given, 'isInclusionList')]
  const target = `${EXCLUSION}.diskLunList`
  const isLun = (one: unknown): one is number => Number.isInteger(one) && Number(one) >= -1 && Number(one) <= LUN_MAX
  if (!Array.isArray(luns) || !luns.every(isLun))
    throw invalid(target, `diskLunList must be LUNs, from 0 to ${LUN_MAX}.`)
  if (typeof isInclusionList !== 'boolean')
    throw invalid(`${EXCLUSION}.isInclusionList`, 'isInclusionList must be true or false.')
  if (!isInclusionList && luns.includes(-1))
    throw invalid(target, 'The disk of the operating system cannot be left out.')
  if (!isInclusionList && luns.length === 0) return null
  return { luns: luns.filter((lun) => lun >= 0).toSorted((a, b) => a - b), isInclusionList }
}

/** @throws ArmError */
export function readItemWish(given: unknown): Readonly<{ wish: ItemWish; machine: ResourceId | undefined }> {
  const body = objectBody(given)
  checkFields(ITEM_FIELDS, body)
  const source = fieldAt(body, 'properties.sourceResourceId') ?? fieldAt(body, 'properties.virtualMachineId')
  const machine =
    source === undefined || source === '' ? undefined : parseIdOfType(source, MACHINE, 'properties.sourceResourceId')
  if (fieldAt(body, 'properties.isRehydrate') === true) return { machine, wish: { kind: 'undelete' } }
  const policyId = fieldAt(body, 'properties.policyId')
  const said = fieldAt(body, 'properties.protectionState')
  const state = typeof said === 'string' ? said.toLowerCase() : ''
  const stops = (['ProtectionStopped', 'BackupsSuspended'] as const).find((one) => one.toLowerCase() === state)
  if (stops !== undefined && (policyId === undefined || policyId === '' || stops === 'BackupsSuspended'))
    return { machine, wish: { kind: 'stop', state: stops } }
  if (policyId === undefined || policyId === '')
    throw invalid('properties.policyId', 'policyId is required: the policy by which the machine is to be protected.')
  const policy = parseIdOfType(policyId, POLICY_TYPE, 'properties.policyId')
  return { machine, wish: { kind: 'protect', policy, exclusion: readExclusion(body) } }
}
