/**
 * What an `imageReference` names: an image of a group by its id, or a platform image by its id or by publisher, offer, sku and
 * version (`latest`: the newest). For disks and for machines alike.
 */
import { findResource, listResources, type ResourceRecord } from '#catalog'
import { ArmError, sameId } from '#contract'
import { diskOfImage, type ImageDisk, isRefusal } from '#domain'
import { IMAGE_TYPE, PLATFORM_IMAGE_TYPE } from '#jobs'
import type { ArmCall } from '../../../arm/call.ts'
import { fieldAt } from '../../../arm/field-table.ts'
import { newestVersion, platformImageId } from './platform-names.ts'

const PLATFORM_ID =
  /^\/subscriptions\/[^/]+\/providers\/microsoft\.compute\/locations\/([^/]+)\/publishers\/([^/]+)\/artifacttypes\/vmimage\/offers\/([^/]+)\/skus\/([^/]+)\/versions\/([^/]+)$/i

type Urn = Readonly<{ location: string; publisher: string; offer: string; sku: string; version: string }>

function urnOf(reference: unknown, location: string): Urn | undefined {
  const id = fieldAt(reference, 'id')
  const [, place, publisher, offer, sku, version] = (typeof id === 'string' && PLATFORM_ID.exec(id)) || []
  if (
    place !== undefined &&
    publisher !== undefined &&
    offer !== undefined &&
    sku !== undefined &&
    version !== undefined
  )
    return { location: place, publisher, offer, sku, version }
  const words = ['publisher', 'offer', 'sku', 'version'].map((name) => fieldAt(reference, name))
  if (words.every((word) => typeof word === 'string'))
    return { location, publisher: words[0], offer: words[1], sku: words[2], version: words[3] } as Urn
  return undefined
}

async function findPlatform(call: ArmCall, urn: Urn): Promise<ResourceRecord | undefined> {
  const { catalog, subscriptionId } = call.host
  if (urn.version.toLowerCase() !== 'latest') return findResource(catalog, platformImageId(subscriptionId, urn))
  const prefix = platformImageId(subscriptionId, { ...urn, version: '' }).toLowerCase()
  const all = await listResources(catalog, { type: PLATFORM_IMAGE_TYPE })
  const fit = all.filter(({ key, state }) => key.startsWith(prefix) && state === 'Succeeded')
  const newest = newestVersion(fit.map(({ name }) => name))
  return fit.find(({ name }) => name === newest)
}

async function findImage(call: ArmCall, reference: unknown, location: string, target: string): Promise<ResourceRecord> {
  const urn = urnOf(reference, location)
  if (urn !== undefined) {
    const found = await findPlatform(call, urn)
    if (found !== undefined) return found
    const { publisher, offer, sku, version } = urn
    throw new ArmError(
      'PlatformImageNotFound',
      `The platform image '${publisher}:${offer}:${sku}:${version}' is not offered in '${urn.location}'.`,
      { target },
    )
  }
  const id = fieldAt(reference, 'id')
  if (typeof id !== 'string' || !/\/providers\/microsoft\.compute\/images\/[^/]+$/i.test(id))
    throw new ArmError('InvalidResourceReference', `'${String(id)}' is not the id of an image.`, { target })
  call.authorize(`${IMAGE_TYPE}/read`, id)
  const found = await findResource(call.host.catalog, id)
  if (found !== undefined && sameId(found.type, IMAGE_TYPE)) return found
  throw new ArmError('ResourceNotFound', `The Resource '${IMAGE_TYPE}/${id.split('/').at(-1) ?? ''}' was not found.`, {
    target,
  })
}

/** The image, whole and in that region. @param target where in the body the reference stands @throws ArmError */
export async function imageOfReference(
  call: ArmCall,
  reference: unknown,
  location: string,
  target: string,
): Promise<ResourceRecord> {
  const image = await findImage(call, reference, location, target)
  if (image.state !== 'Succeeded')
    throw new ArmError(
      'Conflict',
      `The image '${image.id}' is ${image.state}; disks are made from it once it has succeeded.`,
    )
  if (image.location === location) return image
  throw new ArmError(
    'InvalidParameter',
    `The image '${image.id}' is in '${image.location ?? ''}', not in '${location}'.`,
    {
      target,
    },
  )
}

/** One disk of an image. @param lun undefined: the OS disk @throws ArmError `InvalidParameter` */
export function diskInImage(image: ResourceRecord, lun: unknown, target: string): ImageDisk {
  const wanted = lun === undefined || lun === null ? undefined : Number(lun)
  const found = diskOfImage(image.backing, wanted)
  if (!isRefusal(found)) return found
  throw new ArmError('InvalidParameter', `'${image.id}': ${found.message}`, { target })
}
