/** Where an operation of a vault is followed; see vault-operations.ts. */
import { RETRY_AFTER_SECONDS } from '#contract'
import type { ArmCall } from '../../arm/call.ts'

/** The two URLs of an operation. */
export function operationHeaders(call: ArmCall, id: string, at: string): Readonly<Record<string, string>> {
  const version = `api-version=${call.apiVersion}`
  return {
    'azure-asyncoperation': `${call.baseUrl}${at}/operationsStatus/${id}?${version}`,
    location: `${call.baseUrl}${at}/operationResults/${id}?${version}`,
    'retry-after': String(RETRY_AFTER_SECONDS),
  }
}
