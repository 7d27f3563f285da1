/** The api-version of a request. Any well-formed one is accepted: clients of ten years send theirs (az-clients: 2015 to 2026). */
import { ArmError } from './arm-error.ts'

const API_VERSION = /^\d{4}-\d{2}-\d{2}(-[a-z]+(\.\d+)?)?$/i

/** @throws ArmError `MissingApiVersionParameter`, `InvalidApiVersionParameter` */
export function checkApiVersion(given: string | undefined): string {
  if (given === undefined || given === '')
    throw new ArmError(
      'MissingApiVersionParameter',
      'The api-version query parameter (?api-version=) is required for all requests.',
    )
  if (API_VERSION.test(given)) return given.toLowerCase()
  throw new ArmError(
    'InvalidApiVersionParameter',
    `The api-version '${given.slice(0, 40)}' is invalid: it must look like 2024-11-01.`,
  )
}

/** Whether `version` is earlier than `date` (yyyy-mm-dd). A preview of that date counts as that date. */
export function isBefore(version: string, date: string): boolean {
  return version.slice(0, 10) < date
}
