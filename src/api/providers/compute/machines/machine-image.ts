/**
 * The image that a machine is made from: looked up, and what it means for the machine's disks and first boot. Each of its data
 * disks comes too, at its LUN, whether or not the body names it; a body may ask for a larger one.
 */
import type { ResourceRecord } from '#catalog'
import type { ImageBacking } from '#domain'
import { propertiesOf } from '#jobs'
import type { ArmCall } from '../../../arm/call.ts'
import { fieldAt } from '../../../arm/field-table.ts'
import { imageOfReference } from '../images/image-reference.ts'
import { invalid, type MachineRequest, type WishedDataDisk } from './machine-request.ts'

const REFERENCE = 'properties.storageProfile.imageReference'

export async function findImage(
  call: ArmCall,
  request: MachineRequest,
  location: string,
): Promise<ResourceRecord | undefined> {
  const { imageReference, osDisk } = request
  const isEmpty = imageReference === undefined || Object.values(imageReference).every((value) => value === null)
  if (isEmpty) return undefined
  if (osDisk !== undefined && osDisk.createOption !== 'FromImage')
    throw invalid(REFERENCE, `An OS disk with ${osDisk.createOption} has no imageReference.`)
  return imageOfReference(call, imageReference, location, REFERENCE)
}

/** A generalized image waits to be told who it is; a specialized one is somebody already. */
export function checkProfile({ osProfile }: MachineRequest, image: ResourceRecord): void {
  const isSpecialized = fieldAt(propertiesOf(image), 'storageProfile.osDisk.osState') === 'Specialized'
  const target = 'properties.osProfile'
  if (isSpecialized && osProfile !== undefined)
    throw invalid(target, `The image '${image.id}' is specialized: a machine of it takes no osProfile.`)
  if (!isSpecialized && osProfile === undefined)
    throw invalid(target, `The image '${image.id}' is generalized: a machine of it needs an osProfile.`)
}

/** The data disks that are asked for, and those that the image brings besides. */
export function withImageDisks(
  wanted: readonly WishedDataDisk[],
  image: ResourceRecord,
  deleteOption: 'Delete' | 'Detach',
): readonly WishedDataDisk[] {
  const { disks = [] } = image.backing as ImageBacking
  const luns = new Set(wanted.map(({ lun }) => lun))
  const more = disks.flatMap(({ lun }): WishedDataDisk[] => {
    if (lun === 'os' || luns.has(lun)) return []
    return [
      {
        lun,
        createOption: 'FromImage',
        id: undefined,
        sourceId: undefined,
        name: undefined,
        sizeGb: undefined,
        osType: undefined,
        caching: 'None',
        deleteOption,
        storageAccountType: undefined,
        toBeDetached: false,
        target: REFERENCE,
      },
    ]
  })
  return [...wanted, ...more]
}
