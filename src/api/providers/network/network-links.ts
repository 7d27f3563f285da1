/** Ids inside the bodies of network resources: of the right type, of something that exists in the same region and may be used. */
import { type CatalogTransaction, findResource, type ResourceRecord } from '#catalog'
import { ArmError, parseIdOfType } from '#contract'
import type { NetworkRefusal } from '#domain'
import type { ArmCall } from '../../arm/call.ts'
import { fieldAt } from '../../arm/field-table.ts'

export type Link = Readonly<{
  /** `{id}`, or nothing. */
  given: unknown
  type: string
  /** The field that it stands in. */
  target: string
  location: string
}>

/**
 * The record that a body refers to; undefined where it refers to none. The caller must be allowed to join it.
 * @throws ArmError `InvalidResourceReference`, `LinkedAuthorizationFailed`
 */
export async function linked(call: ArmCall, trx: CatalogTransaction, link: Link): Promise<ResourceRecord | undefined> {
  const given = fieldAt(link.given, 'id')
  if (given === undefined) return undefined
  const id = parseIdOfType(given, link.type, link.target)
  const record = await findResource(trx, id.key)
  call.authorize(`${link.type}/join/action`, record?.id ?? id.text)
  if (record === undefined)
    throw new ArmError(
      'InvalidResourceReference',
      `Resource ${id.text} referenced by resource ${call.id} was not found.`,
      {
        target: link.target,
      },
    )
  const parent = record.parentKey === undefined ? record : await findResource(trx, record.parentKey)
  if (parent?.location === link.location) return record
  throw new ArmError('InvalidResourceReference', `Resource ${id.text} is not in the region ${link.location}.`, {
    target: link.target,
  })
}

/** A refusal of the domain as the API says it. */
export function refuse({ code, message }: NetworkRefusal, target: string): ArmError {
  return new ArmError(code, message, { target })
}
