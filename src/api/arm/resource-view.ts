/** A stored resource as the API shows it. */
import type { ResourceRecord } from '#catalog'

export type ResourceView = Readonly<Record<string, unknown>>

/** Id, name, type, location, tags, what the type keeps, and the provisioning state inside `properties`. */
export function showResource(record: ResourceRecord): ResourceView {
  const { id, name, type, location, tags, state, body } = record
  const properties = (body['properties'] ?? {}) as Record<string, unknown>
  return {
    id,
    name,
    type,
    ...(location !== undefined && { location }),
    tags,
    ...body,
    properties: { ...properties, provisioningState: state },
  }
}
