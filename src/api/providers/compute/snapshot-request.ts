/** A request for a snapshot as it was read and checked, before anything is looked up. */
import { ArmError, parseResourceId, readLocation, readTags, type ResourceId, type Tags } from '#contract'
import { CREATE_OPTIONS, type Refusal, type SnapshotCreateOption } from '#domain'
import { checkFields, fieldAt, storedFields } from '../../arm/field-table.ts'
import { objectBody } from '../../arm/json-body.ts'
import { SNAPSHOT_FIELDS, SNAPSHOT_SKUS } from './snapshot-fields.ts'

/** Fields that signed URLs heed, and what they may be. */
const OPENNESS = { networkAccessPolicy: ['AllowAll', 'DenyAll'], publicNetworkAccess: ['Enabled', 'Disabled'] } as const

type Fields = Readonly<Record<string, unknown>>

export type SnapshotRequest = Readonly<{
  location: string
  tags: Tags
  sku: string | undefined
  createOption: SnapshotCreateOption | undefined
  /** A disk or a snapshot. */
  source: ResourceId | undefined
  isIncremental: boolean | undefined
  /** Kept as given. */
  stored: Fields
}>

export function refused(refusal: Refusal, code: 'InvalidParameter' | 'OperationNotAllowed' = 'OperationNotAllowed') {
  const { message, target } = refusal
  return new ArmError(target === undefined ? code : 'InvalidParameter', message, target === undefined ? {} : { target })
}

function isSameWord(word: string, given: unknown): boolean {
  return typeof given === 'string' && word.toLowerCase() === given.toLowerCase()
}

function invalid(target: string, message: string): ArmError {
  return new ArmError('InvalidParameter', message, { target })
}

function fieldsOf(value: unknown, target: string): Fields {
  if (value === undefined || value === null) return {}
  if (typeof value === 'object' && !Array.isArray(value)) return value as Fields
  throw invalid(target, `${target} must be an object.`)
}

export function readSku(given: unknown): string | undefined {
  const { name } = fieldsOf(given, 'sku')
  if (name === undefined || name === null) return undefined
  const known = SNAPSHOT_SKUS.find((sku) => isSameWord(sku, name))
  if (known !== undefined) return known
  throw invalid('sku.name', `A snapshot's sku is one of ${SNAPSHOT_SKUS.join(', ')}.`)
}

function readCreateOption(given: unknown): SnapshotCreateOption | undefined {
  if (given === undefined || given === null) return undefined
  const known = CREATE_OPTIONS.find((option) => isSameWord(option, given))
  if (known !== undefined) return known
  throw invalid('properties.creationData.createOption', `createOption must be one of ${CREATE_OPTIONS.join(', ')}.`)
}

function readSource(given: unknown): ResourceId | undefined {
  if (given === undefined || given === null) return undefined
  const target = 'properties.creationData.sourceResourceId'
  const id = parseResourceId(given, target)
  const type = id.type?.toLowerCase()
  if (type === 'microsoft.compute/disks' || type === 'microsoft.compute/snapshots') return id
  throw new ArmError('InvalidResourceReference', `'${id.text}' is neither a disk nor a snapshot.`, { target })
}

function readFlag(given: unknown, target: string): boolean | undefined {
  if (given === undefined || given === null) return undefined
  if (typeof given === 'boolean') return given
  throw invalid(target, `${target} must be true or false.`)
}

export function readStored(body: unknown): Fields {
  const stored = storedFields(SNAPSHOT_FIELDS, body, 'properties.')
  const open = Object.entries(OPENNESS).flatMap(([name, values]) => {
    const given = fieldAt(body, `properties.${name}`)
    return values.filter((one) => isSameWord(one, given)).map((one) => [name, one] as const)
  })
  return { ...stored, ...Object.fromEntries(open) }
}

/** @throws ArmError */
export function readSnapshotRequest(given: unknown): SnapshotRequest {
  const body = objectBody(given)
  checkFields(SNAPSHOT_FIELDS, body)
  const properties = fieldsOf(body['properties'], 'properties')
  const creation = fieldsOf(properties['creationData'], 'properties.creationData')
  return {
    location: readLocation(body['location']),
    tags: readTags(body['tags']),
    sku: readSku(body['sku']),
    createOption: readCreateOption(creation['createOption']),
    source: readSource(creation['sourceResourceId']),
    isIncremental: readFlag(properties['incremental'], 'properties.incremental'),
    stored: readStored(body),
  }
}
