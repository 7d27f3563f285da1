/** A request for an image as it was read and checked, before anything is looked up. */
import { ArmError, parseIdOfType, readLocation, readTags, type ResourceId, type Tags } from '#contract'
import { type ImageLun, OS_STATES, type OsState } from '#domain'
import { DISK_TYPE, MACHINE_TYPE, SNAPSHOT_TYPE } from '#jobs'
import { checkFields, fieldAt } from '../../../arm/field-table.ts'
import { objectBody } from '../../../arm/json-body.ts'
import { DATA_DISK_FIELDS, IMAGE_FIELDS } from './image-fields.ts'

type Fields = Readonly<Record<string, unknown>>

const STORAGE = 'properties.storageProfile'
const LUN_MAX = 63

export type DiskWish = Readonly<{
  lun: ImageLun
  /** Where in the body it stands. */
  target: string
  source: Readonly<{ kind: 'disk' | 'snapshot'; id: ResourceId }> | Readonly<{ kind: 'blob'; url: URL }>
  /** Kept as given. */
  shown: Fields
}>

export type ImageRequest = Readonly<{
  location: string
  tags: Tags
  generation: 'V1' | 'V2' | undefined
  machine: ResourceId | undefined
  /** Empty with `machine`. */
  disks: readonly DiskWish[]
  osType: 'Linux' | 'Windows' | undefined
  osState: OsState | undefined
  zoneResilient: boolean
}>

function invalid(target: string, message: string): ArmError {
  return new ArmError('InvalidParameter', message, { target })
}

function wordIn<T extends string>(given: unknown, words: readonly T[]): T | undefined {
  return words.find((word) => typeof given === 'string' && word.toLowerCase() === given.toLowerCase())
}

function urlOf(given: unknown, target: string): URL {
  const url = typeof given === 'string' ? URL.parse(given) : null
  if (url !== null && (url.protocol === 'https:' || url.protocol === 'http:')) return url
  throw invalid(target, 'blobUri must be the URL of a blob.')
}

function sourceIn(disk: unknown, target: string): DiskWish['source'] {
  const managed = fieldAt(disk, 'managedDisk.id')
  const snapshot = fieldAt(disk, 'snapshot.id')
  const blob = fieldAt(disk, 'blobUri')
  const given = [managed, snapshot, blob].filter((one) => one !== undefined)
  if (given.length !== 1)
    throw invalid(target, `${target} needs one source: managedDisk.id, snapshot.id or blobUri; it has ${given.length}.`)
  if (managed !== undefined) return { kind: 'disk', id: parseIdOfType(managed, DISK_TYPE, `${target}.managedDisk.id`) }
  if (snapshot !== undefined)
    return { kind: 'snapshot', id: parseIdOfType(snapshot, SNAPSHOT_TYPE, `${target}.snapshot.id`) }
  return { kind: 'blob', url: urlOf(blob, `${target}.blobUri`) }
}

/** What of a disk is shown again; a URL's query may hold a signature. */
function shownOf(disk: Fields, source: DiskWish['source']): Fields {
  const kept = ['caching', 'storageAccountType'].flatMap((name) => {
    const value = fieldAt(disk, name)
    return value === undefined ? [] : [[name, value] as const]
  })
  const from =
    source.kind === 'blob'
      ? { blobUri: `${source.url.origin}${source.url.pathname}` }
      : { [source.kind === 'disk' ? 'managedDisk' : 'snapshot']: { id: source.id.text } }
  return { ...Object.fromEntries(kept), ...from }
}

function dataDiskAt(given: unknown, at: number): DiskWish {
  const target = `${STORAGE}.dataDisks[${at}]`
  if (typeof given !== 'object' || given === null) throw invalid(target, `${target} must be an object.`)
  checkFields(DATA_DISK_FIELDS, given)
  const lun = fieldAt(given, 'lun')
  if (typeof lun !== 'number' || !Number.isInteger(lun) || lun < 0 || lun > LUN_MAX)
    throw invalid(`${target}.lun`, `lun must be a whole number from 0 to ${LUN_MAX}.`)
  const source = sourceIn(given, target)
  return { lun, target, source, shown: { lun, ...shownOf(given as Fields, source) } }
}

function dataDisksIn(body: unknown): DiskWish[] {
  const given = fieldAt(body, `${STORAGE}.dataDisks`) ?? []
  if (!Array.isArray(given)) throw invalid(`${STORAGE}.dataDisks`, 'dataDisks must be a list.')
  const disks = given.map(dataDiskAt)
  if (new Set(disks.map(({ lun }) => lun)).size < disks.length)
    throw invalid(`${STORAGE}.dataDisks`, 'Two data disks have the same lun.')
  return disks
}

function disksIn(body: unknown): DiskWish[] {
  const os = fieldAt(body, `${STORAGE}.osDisk`)
  if (typeof os !== 'object' || os === null)
    throw invalid(STORAGE, 'An image needs sourceVirtualMachine, or storageProfile with an osDisk.')
  const target = `${STORAGE}.osDisk`
  const source = sourceIn(os, target)
  return [{ lun: 'os', target, source, shown: shownOf(os as Fields, source) }, ...dataDisksIn(body)]
}

function checkOs({ osType, osState }: Pick<ImageRequest, 'osType' | 'osState'>): void {
  if (osType === undefined) throw invalid(`${STORAGE}.osDisk.osType`, 'osType is required: Linux or Windows.')
  if (osState === undefined)
    throw invalid(`${STORAGE}.osDisk.osState`, 'osState is required: Generalized or Specialized.')
}

/** @throws ArmError */
export function readImageRequest(given: unknown): ImageRequest {
  const body = objectBody(given)
  checkFields(IMAGE_FIELDS, body)
  const from = fieldAt(body, 'properties.sourceVirtualMachine.id')
  const machine =
    from === undefined ? undefined : parseIdOfType(from, MACHINE_TYPE, 'properties.sourceVirtualMachine.id')
  // What a client read and sends back shows the disks that were found: with a machine they say nothing more.
  const disks = machine === undefined ? disksIn(body) : []
  const request = {
    location: readLocation(body['location']),
    tags: readTags(body['tags']),
    generation: wordIn(fieldAt(body, 'properties.hyperVGeneration'), ['V1', 'V2'] as const),
    machine,
    disks,
    osType: wordIn(fieldAt(body, `${STORAGE}.osDisk.osType`), ['Linux', 'Windows'] as const),
    osState: wordIn(fieldAt(body, `${STORAGE}.osDisk.osState`), OS_STATES),
    zoneResilient: fieldAt(body, `${STORAGE}.zoneResilient`) === true,
  }
  if (machine === undefined) checkOs(request)
  return request
}
