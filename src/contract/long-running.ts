/**
 * Long-running operations as the clients poll them. Source: azure-resource-manager-rpc v1.0, async-api-reference.md; what
 * az and the SDKs insist on: docs/decisions (ARM operations). The status body is answered with 200 always, while the
 * `Location` URL answers 202 until the end and then what the first call would have answered.
 */
import type { ArmErrorBody } from './arm-error.ts'

export const OPERATION_STATUSES = ['InProgress', 'Succeeded', 'Failed', 'Canceled'] as const
export type OperationStatus = (typeof OPERATION_STATUSES)[number]

export type OperationBody = Readonly<{
  id: string
  name: string
  status: OperationStatus
  startTime: string
  endTime?: string
  percentComplete?: number
  properties?: Readonly<Record<string, unknown>>
  error?: ArmErrorBody['error']
}>

/** Without it (or with 0) az waits 30 s between two questions. Seconds. */
export const RETRY_AFTER_SECONDS = 1

/** Provisioning states of a resource; any other word would mean "still running" to the clients. */
export const PROVISIONING_STATES = ['Creating', 'Updating', 'Deleting', 'Succeeded', 'Failed', 'Canceled'] as const
export type ProvisioningState = (typeof PROVISIONING_STATES)[number]

export function isSettled(state: string | undefined): boolean {
  return state === undefined || state === 'Succeeded' || state === 'Failed' || state === 'Canceled'
}
