/**
 * Tags of any resource or group by its id: `{scope}/providers/Microsoft.Resources/tags/default`, what `az tag` uses.
 * Source: Azure "Tags - Create Or Update At Scope" and "Update At Scope" 2021-04-01.
 */
import { findResource, type ResourceRecord, updateResource } from '#catalog'
import { ArmError, readTags, type Tags } from '#contract'
import { type ArmCall, type ArmReply, type ArmRoute, ok } from '../../arm/call.ts'
import { changeSourceOf } from '../../arm/change-source.ts'
import { fieldAt } from '../../arm/field-table.ts'
import { objectBody } from '../../arm/json-body.ts'

const PATH = '/{scope}/providers/Microsoft.Resources/tags/default'

async function find(call: ArmCall): Promise<ResourceRecord> {
  const record = await findResource(call.host.catalog, call.param('scope'))
  if (record !== undefined) return record
  throw new ArmError('ResourceNotFound', `The resource '${call.param('scope')}' was not found.`)
}

function show(record: ResourceRecord): ArmReply {
  return ok({
    id: `${record.id}/providers/Microsoft.Resources/tags/default`,
    name: 'default',
    type: 'Microsoft.Resources/tags',
    properties: { tags: record.tags },
  })
}

/** Must be there: a body without them would take all tags away. */
function givenTags(body: unknown): Tags {
  const tags = fieldAt(objectBody(body), 'properties.tags')
  if (tags !== undefined) return readTags(tags)
  throw new ArmError('InvalidRequestContent', "The body needs 'properties.tags'.", { target: 'properties.tags' })
}

/** Merged without case: a name keeps the case in which it was first given. */
function merged(existing: Tags, given: Tags, operation: string): Tags {
  const kept = Object.entries(existing)
  const isGiven = (name: string): string | undefined =>
    Object.keys(given).find((other) => other.toLowerCase() === name.toLowerCase())
  if (operation === 'replace') return given
  if (operation === 'delete') return Object.fromEntries(kept.filter(([name]) => isGiven(name) === undefined))
  if (operation === 'merge')
    return readTags({ ...Object.fromEntries(kept.filter(([name]) => isGiven(name) === undefined)), ...given })
  throw new ArmError('InvalidParameter', "The operation must be 'Replace', 'Merge' or 'Delete'.", {
    target: 'operation',
  })
}

async function write(call: ArmCall, tagsOf: (record: ResourceRecord) => Tags): Promise<ArmReply> {
  const record = await find(call)
  const changed = await call.host.catalog.write((trx) =>
    updateResource(trx, record.id, { tags: tagsOf(record) }, changeSourceOf(call.host)),
  )
  return show(changed ?? record)
}

const ACTION = 'Microsoft.Resources/tags'

export const tagRoutes: readonly ArmRoute[] = [
  { method: 'GET', path: PATH, action: `${ACTION}/read`, handle: async (call) => show(await find(call)) },
  { method: 'PUT', path: PATH, action: `${ACTION}/write`, handle: (call) => write(call, () => givenTags(call.body)) },
  {
    method: 'PATCH',
    path: PATH,
    action: `${ACTION}/write`,
    handle: (call) => {
      const operation = String(objectBody(call.body)['operation']).toLowerCase()
      return write(call, ({ tags }) => merged(tags, givenTags(call.body), operation))
    },
  },
  {
    method: 'DELETE',
    path: PATH,
    action: `${ACTION}/delete`,
    handle: async (call) => {
      await write(call, () => ({}))
      return { status: 200 }
    },
  },
]
