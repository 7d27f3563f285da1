/**
 * The activity log as `az monitor activity-log list` and the SDKs read it: events of the management category, newest first.
 * Source: Azure "Activity Logs - List" 2015-04-01.
 */
import { isoTime } from '#base'
import { type ActivityEvent, listActivity } from '#catalog'
import { ArmError, checkFilterFields, type FilterTerm, parseFilter, groupId } from '#contract'
import { type ArmCall, type ArmReply, type ArmRoute, ok } from '../../arm/call.ts'

const EVENTS_MAX = 1000
const FIELDS = [
  'eventTimestamp',
  'eventChannels',
  'resourceGroupName',
  'resourceUri',
  'resourceId',
  'correlationId',
  'caller',
  'status',
  'levels',
]

function compared(terms: readonly FilterTerm[], field: string, ...operators: readonly string[]): string | undefined {
  for (const term of terms)
    if (
      term.kind === 'compare' &&
      term.field.toLowerCase() === field.toLowerCase() &&
      operators.includes(term.operator)
    )
      return term.value
  return undefined
}

function timeOf(text: string | undefined): number | undefined {
  if (text === undefined) return undefined
  const ms = globalThis.Date.parse(text)
  if (Number.isFinite(ms)) return ms
  throw new ArmError('InvalidFilterInQueryString', `'${text.slice(0, 40)}' is not a time.`, { target: '$filter' })
}

function view(event: ActivityEvent, subscriptionId: string): Readonly<Record<string, unknown>> {
  const { id, atMs, correlation, caller, action, resource, status, httpStatus, operation, facts } = event
  const value = (text: string) => ({ value: text, localizedValue: text })
  const [provider = ''] = action.split('/', 1)
  return {
    id: `${resource}/events/${id}/ticks/${atMs}`,
    eventDataId: id,
    correlationId: correlation,
    operationId: operation ?? correlation,
    eventTimestamp: isoTime(atMs),
    submissionTimestamp: isoTime(atMs),
    caller,
    claims: { appid: caller },
    authorization: { action, scope: resource },
    category: value('Administrative'),
    channels: 'Operation',
    level: status === 'Failed' ? 'Error' : 'Informational',
    operationName: value(action),
    resourceId: resource,
    resourceGroupName: /\/resourceGroups\/([^/]+)/i.exec(resource)?.[1] ?? '',
    resourceProviderName: value(provider),
    status: value(status),
    subStatus: value(String(httpStatus)),
    subscriptionId,
    properties: { statusCode: String(httpStatus), ...facts },
  }
}

async function list(call: ArmCall): Promise<ArmReply> {
  const { catalog, subscriptionId } = call.host
  const terms = parseFilter(call.query('$filter'))
  checkFilterFields(terms, FIELDS)
  const equal = (field: string): string | undefined => compared(terms, field, 'eq')
  const group = equal('resourceGroupName')
  const within =
    equal('resourceUri') ?? equal('resourceId') ?? (group === undefined ? undefined : groupId(subscriptionId, group))
  const fromMs = timeOf(compared(terms, 'eventTimestamp', 'ge', 'gt'))
  const toMs = timeOf(compared(terms, 'eventTimestamp', 'le', 'lt'))
  const events = await listActivity(catalog, {
    limit: EVENTS_MAX,
    ...(within !== undefined && { resourcePrefix: within }),
    ...(fromMs !== undefined && { fromMs }),
    ...(toMs !== undefined && { toMs }),
  })
  const shown = events.filter(
    ({ correlation, caller, status, resource }) =>
      (equal('correlationId') ?? correlation) === correlation &&
      (equal('caller') ?? caller) === caller &&
      (equal('status') ?? status).toLowerCase() === status.toLowerCase() &&
      call.may('Microsoft.Insights/eventtypes/values/read', resource),
  )
  return ok({ value: shown.map((event) => view(event, subscriptionId)) })
}

export const activityLogRoutes: readonly ArmRoute[] = [
  {
    method: 'GET',
    path: '/subscriptions/{subscription}/providers/Microsoft.Insights/eventtypes/management/values',
    action: 'Microsoft.Insights/eventtypes/values/read',
    access: 'filter',
    handle: list,
  },
]
