/** Lists over all types: `resources` of the subscription and of a group. What belongs to another resource is not listed. */
import { listResources, type ResourceRecord } from '#catalog'
import { checkFilterFields, equalTo, type FilterTerm, groupId, pageOf, parseFilter } from '#contract'
import { isoTime } from '#base'
import { PLATFORM_IMAGE_TYPE } from '#jobs'
import { type ArmCall, type ArmReply, type ArmRoute, ok } from '../../arm/call.ts'
import { GROUP_TYPE } from './groups.ts'

const FIELDS = ['resourceType', 'resourceGroup', 'name', 'location', 'tagName', 'tagValue', 'substringof', 'startswith']

/** What the list shows: no properties but the state, as on Azure. */
function view(record: ResourceRecord, expand: readonly string[]): Readonly<Record<string, unknown>> {
  const { id, name, type, location, tags, body, state, createdMs, changedMs } = record
  const { sku, kind } = body
  return {
    id,
    name,
    type,
    ...(location !== undefined && { location }),
    tags,
    ...(sku !== undefined && { sku }),
    ...(kind !== undefined && { kind }),
    ...(expand.includes('createdtime') && { createdTime: isoTime(createdMs) }),
    ...(expand.includes('changedtime') && { changedTime: isoTime(changedMs) }),
    ...(expand.includes('provisioningstate') && { provisioningState: state }),
  }
}

function fits({ type, name, location, tags, groupKey }: ResourceRecord, terms: readonly FilterTerm[]): boolean {
  const texts: Readonly<Record<string, string>> = {
    resourcetype: type,
    name,
    location: location ?? '',
    resourcegroup: groupKey.slice(groupKey.lastIndexOf('/') + 1),
  }
  const tagName = equalTo(terms, 'tagName')
  const tag = Object.entries(tags).find(([name]) => name.toLowerCase() === tagName?.toLowerCase())
  if (tagName !== undefined && (tag === undefined || (equalTo(terms, 'tagValue') ?? tag[1]) !== tag[1])) return false
  return terms.every((term) => {
    if (term.kind === 'call') {
      const [first = '', second = ''] = term.arguments
      const [field, part] = term.name === 'substringof' ? [second, first] : [first, second]
      const text = (texts[field.toLowerCase()] ?? '').toLowerCase()
      return term.name === 'startswith' ? text.startsWith(part.toLowerCase()) : text.includes(part.toLowerCase())
    }
    const text = texts[term.field.toLowerCase()]
    if (text === undefined) return true
    const equal = text.toLowerCase() === term.value.toLowerCase()
    return term.operator === 'ne' ? !equal : equal
  })
}

async function list(call: ArmCall): Promise<ArmReply> {
  const { catalog, subscriptionId } = call.host
  const group = call.params['group']
  const terms = parseFilter(call.query('$filter'))
  checkFilterFields(terms, FIELDS)
  const expand = (call.query('$expand') ?? '').toLowerCase().split(',')
  const within = group === undefined ? {} : { group: groupId(subscriptionId, group) }
  const records = (await listResources(catalog, { subscription: subscriptionId, ...within })).filter(
    (record) =>
      record.type !== GROUP_TYPE &&
      record.type !== PLATFORM_IMAGE_TYPE &&
      record.parentKey === undefined &&
      record.location !== undefined &&
      call.may(`${record.type}/read`, record.id) &&
      fits(record, terms),
  )
  const views = records.map((record) => view(record, expand))
  return ok(pageOf(views, call.url, call.query('$skipToken'), Number(call.query('$top') ?? Number.NaN)))
}

export const resourceRoutes: readonly ArmRoute[] = [
  {
    method: 'GET',
    path: '/subscriptions/{subscription}/resources',
    action: 'Microsoft.Resources/subscriptions/resources/read',
    access: 'filter',
    handle: list,
  },
  {
    method: 'GET',
    path: '/subscriptions/{subscription}/resourceGroups/{group}/resources',
    action: 'Microsoft.Resources/subscriptions/resourceGroups/resources/read',
    access: 'filter',
    handle: list,
  },
]
