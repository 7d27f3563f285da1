/** The fields of a deployment: what the check and docs/api/deployments.md are made from. */
import type { Field, FieldTable } from '../../../arm/field-table.ts'

const READ_ONLY = [
  'provisioningState',
  'correlationId',
  'timestamp',
  'duration',
  'outputs',
  'providers',
  'dependencies',
  'templateHash',
  'outputResources',
  'validatedResources',
  'diagnostics',
  'extensions',
  'error',
].map((name): Field => ({ path: `properties.${name}`, use: 'read-only' }))

export const DEPLOYMENT_FIELDS: FieldTable = [
  { path: 'id', use: 'read-only' },
  { path: 'name', use: 'read-only' },
  { path: 'type', use: 'read-only' },
  { path: 'systemData', use: 'read-only' },
  { path: 'location', use: 'read-only', note: 'a deployment in a resource group has none' },
  { path: 'tags', use: 'honoured' },
  {
    path: 'properties.mode',
    use: 'honoured',
    only: ['Incremental'],
    note: 'Complete deletes what the template does not name',
  },
  { path: 'properties.template', use: 'honoured', note: 'what it may hold: below' },
  { path: 'properties.parameters', use: 'honoured', note: 'values; references to a key vault are refused' },
  { path: 'properties.templateLink', use: 'refused', note: 'A template by link: send the template itself.' },
  { path: 'properties.parametersLink', use: 'refused', note: 'Parameters by link: send the parameters themselves.' },
  { path: 'properties.onErrorDeployment', use: 'refused', note: 'Falling back to an earlier deployment.' },
  { path: 'properties.extensionConfigs', use: 'refused', note: 'There are no extensions.' },
  { path: 'properties.externalInputs', use: 'refused', note: 'There are no external inputs.' },
  { path: 'properties.externalInputDefinitions', use: 'refused', note: 'There are no external inputs.' },
  {
    path: 'properties.debugSetting.detailLevel',
    use: 'refused',
    only: ['none'],
    note: 'Contents of requests and answers are not kept: they may hold secrets.',
  },
  {
    path: 'properties.expressionEvaluationOptions.scope',
    use: 'honoured',
    only: ['NotSpecified', 'Outer', 'Inner'],
    note: 'concerns nested templates, which are refused',
  },
  {
    path: 'properties.validationLevel',
    use: 'honoured',
    only: ['Template', 'Provider', 'ProviderNoRbac'],
    note: 'types and rights are checked always',
  },
  ...READ_ONLY,
]
