/** contract: the wire of the Azure face. Pure: ids, versions, errors, filters, pages, shapes. */
export { checkApiVersion, isBefore } from './api-version.ts'
export {
  ARM_ERROR_CODES,
  ARM_STATUS_OF,
  ArmError,
  type ArmErrorBody,
  type ArmErrorCode,
  type ArmErrorMore,
} from './arm-error.ts'
export { checkFilterFields, equalTo, type FilterTerm, parseFilter } from './filter.ts'
export { normalizeLocation, readLocation } from './location.ts'
export {
  isSettled,
  OPERATION_STATUSES,
  type OperationBody,
  type OperationStatus,
  PROVISIONING_STATES,
  type ProvisioningState,
  RETRY_AFTER_SECONDS,
} from './long-running.ts'
export { type Page, PAGE_MAX, pageOf, skipOf } from './page.ts'
export {
  groupId,
  idKey,
  parseIdOfType,
  parseResourceId,
  type ResourceId,
  resourceIdIn,
  sameId,
  subscriptionId,
} from './resource-id.ts'
export { readTags, type Tags } from './tags.ts'
