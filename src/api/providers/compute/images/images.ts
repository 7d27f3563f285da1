/**
 * Microsoft.Compute/images. An image names disk versions of its region's repository: it rests on nothing that it was made of, and
 * what was made of it does not rest on it.
 *
 * Invariants: what an image is made of never changes; one that failed may be put again as if it were not there.
 */
import { isHoldfastError } from '#base'
import { type CatalogTransaction, findResource, insertResource, type ResourceRecord, updateResource } from '#catalog'
import { ArmError, groupId, pageOf, readTags } from '#contract'
import { CREATE_IMAGE_JOB, DELETE_IMAGE_JOB, disksBeingMadeOf, IMAGE_TYPE, propertiesOf, RESOURCE_QUEUE } from '#jobs'
import { type ArmCall, type ArmReply, type ArmRoute, noContent, ok } from '../../../arm/call.ts'
import { changeSourceOf } from '../../../arm/change-source.ts'
import { checkFields, fieldAt } from '../../../arm/field-table.ts'
import { objectBody } from '../../../arm/json-body.ts'
import { beginOnce, type OperationSpec } from '../../../arm/operations.ts'
import { checkRegion, readableRecords, routesOfType } from '../../../arm/records.ts'
import { showResource } from '../../../arm/resource-view.ts'
import { findOr404 } from '../disk-view.ts'
import { IMAGE_FIELDS } from './image-fields.ts'
import { type PlannedImage, planImage } from './image-plan.ts'
import { type ImageRequest, readImageRequest } from './image-request.ts'

/** Source: Azure naming rules: letters, digits, underscore, hyphen and period; begins with a letter or digit, ends not with a period or hyphen. */
const NAME = /^[A-Za-z0-9]([\w.-]{0,78}\w)?$/

type Fields = Readonly<Record<string, unknown>>

async function list(call: ArmCall): Promise<ArmReply> {
  const readable = await readableRecords(call, IMAGE_TYPE)
  return ok(pageOf(readable.map(showResource), call.url, call.query('$skipToken')))
}

function operation(
  call: ArmCall,
  location: string,
  spec: Pick<OperationSpec, 'action' | 'job' | 'input' | 'reply' | 'announce'>,
): OperationSpec {
  return {
    kind: 'operations',
    provider: 'Microsoft.Compute',
    location,
    resourceId: call.id,
    queue: RESOURCE_QUEUE,
    key: call.id.toLowerCase(),
    ...spec,
  }
}

async function announce(
  call: ArmCall,
  trx: CatalogTransaction,
  request: ImageRequest,
  { properties, sourceIds }: PlannedImage,
): Promise<void> {
  const { host, id } = call
  const source = changeSourceOf(host)
  const existing = await findResource(trx, id)
  if (existing !== undefined && existing.state !== 'Failed')
    throw new ArmError('AnotherOperationInProgress', `'${id}' has been made by another request meanwhile.`)
  for (const sourceId of sourceIds)
    if ((await findResource(trx, sourceId))?.state !== 'Succeeded')
      throw new ArmError('OperationNotAllowed', `The source '${sourceId}' is not there any more, or is being changed.`)
  const { location, tags } = request
  const record = { location, tags, state: 'Creating', body: { properties }, backing: {} }
  if (existing !== undefined) return void (await updateResource(trx, id, record, source))
  const group = groupId(host.subscriptionId, call.param('group'))
  const { subscriptionId: subscription } = host
  const named = { id, subscription, group, type: IMAGE_TYPE, name: call.param('name') }
  await insertResource(trx, { ...record, ...named }, source)
}

async function create(call: ArmCall, request: ImageRequest): Promise<ArmReply> {
  const plan = await planImage(call, request)
  const spec = operation(call, request.location, {
    action: `${IMAGE_TYPE}/write`,
    job: CREATE_IMAGE_JOB,
    input: plan.input,
    reply: 'resource',
    announce: (trx) => announce(call, trx, request, plan),
  })
  const { headers, id } = await beginOnce(call, spec)
  return { status: 201, body: showResource(await findOr404(call)), headers, operation: id }
}

function unchangeable(target: string): ArmError {
  return new ArmError('PropertyChangeNotAllowed', `Changing '${target}' of an image is not allowed.`, { target })
}

function sourceIn(shown: unknown): string {
  const id = fieldAt(shown, 'managedDisk.id') ?? fieldAt(shown, 'snapshot.id') ?? fieldAt(shown, 'blobUri')
  return String(id).toLowerCase()
}

/** What is put again says nothing else than what is. @throws ArmError `PropertyChangeNotAllowed` */
function checkUnchanged(record: ResourceRecord, request: ImageRequest): void {
  const properties = propertiesOf(record)
  if (request.location !== record.location) throw unchangeable('location')
  if (request.generation !== undefined && request.generation !== properties['hyperVGeneration'])
    throw unchangeable('properties.hyperVGeneration')
  const machine = fieldAt(properties, 'sourceVirtualMachine.id')
  if (request.machine !== undefined) {
    if (request.machine.key !== String(machine).toLowerCase()) throw unchangeable('properties.sourceVirtualMachine.id')
    return
  }
  const profile = properties['storageProfile']
  const data = fieldAt(profile, 'dataDisks')
  const shown = [fieldAt(profile, 'osDisk'), ...(Array.isArray(data) ? data : [])]
  const isSame =
    shown.length === request.disks.length &&
    request.disks.every(({ shown: given }) =>
      shown.some((one) => sourceIn(one) === sourceIn(given) && fieldAt(one, 'lun') === fieldAt(given, 'lun')),
    )
  if (!isSame) throw unchangeable('properties.storageProfile')
}

async function change(call: ArmCall, record: ResourceRecord, tags: Fields | undefined): Promise<ArmReply> {
  if (tags === undefined) return ok(showResource(record))
  const changed = await call.host.catalog.write((trx) =>
    updateResource(trx, record.id, { tags: tags as Readonly<Record<string, string>> }, changeSourceOf(call.host)),
  )
  return ok(showResource(changed ?? record))
}

async function put(call: ArmCall): Promise<ArmReply> {
  const name = call.param('name')
  if (!NAME.test(name))
    throw new ArmError('InvalidResourceName', `'${name}' cannot be the name of an image.`, { target: 'name' })
  const request = readImageRequest(call.body)
  await checkRegion(call, request.location)
  const existing = await findResource(call.host.catalog, call.id)
  if (existing?.state === 'Succeeded') {
    checkUnchanged(existing, request)
    return change(call, existing, request.tags)
  }
  if (existing?.state === 'Deleting') throw new ArmError('AnotherOperationInProgress', `'${call.id}' is being deleted.`)
  try {
    return await create(call, request)
  } catch (error) {
    // An equal request may have made the image between our looking and our announcing.
    const made = isHoldfastError(error, 'AnotherOperationInProgress')
      ? await findResource(call.host.catalog, call.id)
      : undefined
    if (made?.state !== 'Succeeded') throw error
    checkUnchanged(made, request)
    return change(call, made, request.tags)
  }
}

async function patch(call: ArmCall): Promise<ArmReply> {
  const record = await findOr404(call)
  const body = objectBody(call.body ?? {})
  checkFields(IMAGE_FIELDS, body)
  const other = Object.entries(body).find(([name, value]) => name !== 'tags' && value !== null && value !== undefined)
  if (other !== undefined && Object.keys(Object(other[1])).length > 0) throw unchangeable(other[0])
  const { tags } = body
  return change(call, record, tags === undefined || tags === null ? undefined : readTags(tags))
}

async function remove(call: ArmCall): Promise<ArmReply> {
  const record = await findResource(call.host.catalog, call.id)
  if (record === undefined) return noContent
  if (record.state === 'Creating')
    throw new ArmError('AnotherOperationInProgress', `The image '${record.id}' is still being made.`)
  const { headers, id } = await beginOnce(
    call,
    operation(call, record.location ?? '', {
      action: `${IMAGE_TYPE}/delete`,
      job: DELETE_IMAGE_JOB,
      input: { id: record.id },
      reply: 'empty',
      announce: async (trx) => {
        const users = await disksBeingMadeOf(trx, record.id)
        if (users.length > 0)
          throw new ArmError('OperationNotAllowed', `Disks are being made from '${record.id}': ${users.join(', ')}.`)
        await updateResource(trx, record.id, { state: 'Deleting' }, changeSourceOf(call.host))
      },
    }),
  )
  return { status: 202, headers, operation: id }
}

async function get(call: ArmCall): Promise<ArmReply> {
  return ok(showResource(await findOr404(call)))
}

export const imageRoutes: readonly ArmRoute[] = routesOfType(IMAGE_TYPE, { list, get, put, patch, remove })
