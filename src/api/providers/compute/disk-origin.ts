/**
 * What a disk is to be made from: checked while the client waits, as far as that needs no bytes, and with the caller's rights
 * on every resource that is named. The job then takes it as it stands.
 */
import { createHash } from 'node:crypto'
import { fileURLToPath } from 'node:url'
import { join } from 'node:path'
import { findResource, type ResourceRecord } from '#catalog'
import { ArmError, parseResourceId, sameId } from '#contract'
import { type DiskBacking, diskBytesOfUpload, isRefusal, sizeFromSource, type SnapshotBacking } from '#domain'
import { checkImportUrl, diskStateOf, type DiskOrigin, DISK_TYPE, propertiesOf, sizeBytesOf } from '#jobs'
import { replaceFile } from '#runtime'
import type { ArmCall } from '../../arm/call.ts'
import { fieldAt } from '../../arm/field-table.ts'
import { BlobRefusal } from '../../blob/blob-http.ts'
import { findBlob } from '../../blob/storage-files.ts'
import { diskInImage, imageOfReference } from './images/image-reference.ts'

const C = 'properties.creationData.'
/** Types whose bytes are a version in a repository. */
const VERSION_TYPES = new Set([
  'microsoft.compute/snapshots',
  'microsoft.compute/restorepointcollections/restorepoints/diskrestorepoints',
])

export type Origin = Readonly<{
  origin: DiskOrigin
  /** Undefined: as large as the source, which only the job knows. */
  sizeBytes: number | undefined
  /** Properties that the disk takes over from its source. */
  inherited: Readonly<Record<string, unknown>>
  sourceUniqueId?: string
  /** Id of the image: there, and still whole, when the record is written. */
  image?: string
}>

function invalid(field: string, message: string): ArmError {
  return new ArmError('InvalidParameter', message, { target: `${C}${field}` })
}

function refuseOthers(body: unknown, allowed: readonly string[]): void {
  for (const field of ['sourceResourceId', 'sourceUri', 'uploadSizeBytes', 'imageReference'])
    if (!allowed.includes(field) && fieldAt(body, `${C}${field}`) !== undefined)
      throw invalid(field, `The property '${field}' does not belong to this createOption.`)
}

/** @param wantedBytes by diskSizeGB @throws ArmError */
export async function readOrigin(
  call: ArmCall,
  body: unknown,
  location: string,
  wantedBytes: number | undefined,
): Promise<Origin> {
  const option = fieldAt(body, `${C}createOption`)
  switch (typeof option === 'string' ? option.toLowerCase() : '') {
    case 'empty':
      refuseOthers(body, [])
      if (wantedBytes === undefined)
        throw new ArmError('InvalidParameter', 'diskSizeGB is required for an empty disk.', {
          target: 'properties.diskSizeGB',
        })
      return { origin: { kind: 'empty' }, sizeBytes: wantedBytes, inherited: {} }
    case 'upload':
      refuseOthers(body, ['uploadSizeBytes'])
      return ofUpload(body, wantedBytes)
    case 'copy':
    case 'restore':
      refuseOthers(body, ['sourceResourceId'])
      return ofResource(call, body, location, wantedBytes)
    case 'fromimage':
      refuseOthers(body, ['imageReference'])
      return ofImage(call, body, location, wantedBytes)
    case 'import':
      refuseOthers(body, ['sourceUri'])
      return { origin: await ofUri(call, body), sizeBytes: wantedBytes, inherited: {} }
    default:
      throw invalid(
        'createOption',
        'creationData.createOption is required: Empty, Copy, FromImage, Import, Upload or Restore.',
      )
  }
}

function ofUpload(body: unknown, wantedBytes: number | undefined): Origin {
  const uploadBytes = fieldAt(body, `${C}uploadSizeBytes`)
  const sizeBytes = diskBytesOfUpload(uploadBytes)
  if (isRefusal(sizeBytes)) throw new ArmError('InvalidParameter', sizeBytes.message, { target: `${C}uploadSizeBytes` })
  if (wantedBytes !== undefined)
    throw new ArmError('InvalidParameter', 'diskSizeGB is not given for an upload: its size is that of the upload.', {
      target: 'properties.diskSizeGB',
    })
  return { origin: { kind: 'upload', uploadBytes: Number(uploadBytes) }, sizeBytes, inherited: {} }
}

/** The resource, if the caller may read its bytes. */
async function sourceOf(call: ArmCall, body: unknown): Promise<ResourceRecord> {
  const target = `${C}sourceResourceId`
  const id = parseResourceId(fieldAt(body, target) ?? '', target)
  const type = id.type ?? ''
  const isKnown = sameId(type, DISK_TYPE) || VERSION_TYPES.has(type.toLowerCase())
  if (!isKnown) throw new ArmError('InvalidResourceReference', `A disk cannot be made from '${id.text}'.`, { target })
  call.authorize(`${type}/beginGetAccess/action`, id.text)
  const found = await findResource(call.host.catalog, id.text)
  if (found === undefined)
    throw new ArmError('ResourceNotFound', `The resource '${id.text}' was not found.`, { target })
  if (found.state !== 'Succeeded')
    throw new ArmError('Conflict', `'${id.text}' is ${found.state}; a disk is made from it once it has succeeded.`)
  return found
}

async function ofResource(
  call: ArmCall,
  body: unknown,
  location: string,
  wantedBytes: number | undefined,
): Promise<Origin> {
  const source = await sourceOf(call, body)
  if (source.location !== undefined && source.location !== location)
    throw invalid('sourceResourceId', `'${source.id}' is in '${source.location}'. Copy it to '${location}' first.`)
  const sizeBytes = sizeFromSource(sizeBytesOf(source), wantedBytes)
  if (isRefusal(sizeBytes))
    throw new ArmError('InvalidParameter', sizeBytes.message, { target: 'properties.diskSizeGB' })
  const { osType, hyperVGeneration, uniqueId } = propertiesOf(source)
  const inherited = {
    ...(osType !== undefined && { osType }),
    ...(hyperVGeneration !== undefined && { hyperVGeneration }),
  }
  const sourceUniqueId = typeof uniqueId === 'string' ? { sourceUniqueId: uniqueId } : {}
  return { origin: originOf(source), sizeBytes, inherited, ...sourceUniqueId }
}

async function ofImage(
  call: ArmCall,
  body: unknown,
  location: string,
  wantedBytes: number | undefined,
): Promise<Origin> {
  const target = `${C}imageReference`
  const reference = fieldAt(body, target)
  const image = await imageOfReference(call, reference, location, target)
  return originInImage(image, fieldAt(reference, 'lun'), wantedBytes, target)
}

/** A disk of an image as an origin: for a disk by itself, and for one of a machine. @throws ArmError `InvalidParameter` */
export function originInImage(
  image: ResourceRecord,
  lun: unknown,
  wantedBytes: number | undefined,
  target: string,
): Origin {
  const { version, sizeBytes: imageBytes, lun: found } = diskInImage(image, lun, target)
  const sizeBytes = sizeFromSource(imageBytes, wantedBytes)
  if (isRefusal(sizeBytes))
    throw new ArmError('InvalidParameter', sizeBytes.message, { target: 'properties.diskSizeGB' })
  const properties = propertiesOf(image)
  const osType = fieldAt(properties, 'storageProfile.osDisk.osType')
  const { hyperVGeneration } = properties
  const inherited = {
    ...(osType !== undefined && found === 'os' && { osType }),
    ...(hyperVGeneration !== undefined && found === 'os' && { hyperVGeneration }),
  }
  return { origin: { kind: 'base', version }, sizeBytes, inherited, image: image.id }
}

function originOf(source: ResourceRecord): DiskOrigin {
  if (VERSION_TYPES.has(source.type.toLowerCase())) {
    const { version } = source.backing as SnapshotBacking
    if (version !== undefined) return { kind: 'version', version }
    throw new ArmError('Conflict', `'${source.id}' is not durable yet: its bytes are still where they came from.`)
  }
  const state = diskStateOf(source)
  const { machine } = source.backing as unknown as DiskBacking
  if (state === 'Unattached' || state === 'ActiveSAS' || (state === 'Reserved' && machine === undefined))
    return { kind: 'disk', id: source.id }
  throw new ArmError(
    'OperationNotAllowed',
    `'${source.id}' is ${state}: its bytes may change while they are copied. Take a snapshot and copy that.`,
  )
}

async function ofUri(call: ArmCall, body: unknown): Promise<DiskOrigin> {
  const given = fieldAt(body, `${C}sourceUri`)
  const url = typeof given === 'string' ? URL.parse(given) : null
  if (url === null) throw invalid('sourceUri', 'sourceUri is required: a URL.')
  if (url.protocol === 'file:') {
    call.authorize('Microsoft.Compute/disks/importFile/action', '/')
    return { kind: 'file', path: pathOf(url) }
  }
  if (url.protocol !== 'https:' && url.protocol !== 'http:')
    throw invalid('sourceUri', 'A disk is imported from a blob, a file: URL or an http or https URL.')
  const blob = url.host === new URL(call.accountsUrl).host ? await blobAt(call, url) : undefined
  if (blob !== undefined) return ofBlob(call, body, blob)
  await checkImportUrl(call.host.catalog, url.href)
  return { kind: 'url', urlFile: await keepUrl(call, url) }
}

/** @throws ArmError when the path is none that a blob can have */
async function blobAt(call: ArmCall, url: URL): ReturnType<typeof findBlob> {
  try {
    return await findBlob(call.host, url)
  } catch (error) {
    if (error instanceof BlobRefusal) throw invalid('sourceUri', error.message)
    throw error
  }
}

function pathOf(url: URL): string {
  try {
    return fileURLToPath(url)
  } catch (cause) {
    throw new ArmError('InvalidParameter', 'The file: URL names no file of this host.', {
      target: `${C}sourceUri`,
      cause,
    })
  }
}

function ofBlob(
  call: ArmCall,
  body: unknown,
  blob: Readonly<{ account: ResourceRecord; folder: string; path: string }>,
): DiskOrigin {
  const { account, folder, path } = blob
  call.authorize('Microsoft.Storage/storageAccounts/listKeys/action', account.id)
  const said = fieldAt(body, `${C}storageAccountId`)
  if (said !== undefined && (typeof said !== 'string' || !sameId(said, account.id)))
    throw invalid('storageAccountId', `The blob is of the storage account '${account.id}'.`)
  return { kind: 'blob', path, folder }
}

/** A URL may hold a signature, so it is kept in a file of the home, not in the catalog. */
async function keepUrl(call: ArmCall, url: URL): Promise<string> {
  const { keysFolder } = call.host.disks
  const path = join(
    keysFolder,
    `import-${createHash('sha256').update(`${call.id}\n${url.href}`).digest('hex').slice(0, 32)}.url`,
  )
  await replaceFile(path, [new TextEncoder().encode(`${url.href}\n`)])
  return path
}
