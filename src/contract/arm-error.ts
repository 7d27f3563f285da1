/**
 * An error as Azure Resource Manager speaks it: an HTTP status, a stable code in Azure's spelling, one sentence.
 * Source: azure-resource-manager-rpc v1.0, Common API Details, "Error Response Content"; codes as Azure's services give them.
 *
 * One class for the whole API: a handler throws it, one place turns it into the body. Errors of other parts are translated
 * there (src/api/arm/error-reply.ts), never sent as they are.
 */
import { HoldfastError } from '#base'

/** The codes that the API answers with, and the HTTP status that each has unless told otherwise. */
export const ARM_STATUS_OF = {
  AddressPrefixNotSupported: 400,
  AllocationFailed: 409,
  AnotherOperationInProgress: 409,
  AuthenticationFailed: 401,
  AuthorizationFailed: 403,
  BMSUserErrorInvalidPolicyInput: 400,
  Conflict: 409,
  DeploymentFailed: 409,
  DeploymentNotFound: 404,
  DeploymentOperationNotFound: 404,
  ExpiredAuthenticationToken: 401,
  GatewayTimeout: 504,
  InsufficientCapacity: 409,
  InUseNetworkSecurityGroupCannotBeDeleted: 400,
  InUsePrefixCannotBeDeleted: 400,
  InUseSubnetCannotBeDeleted: 400,
  InternalServerError: 500,
  InvalidAddressPrefixFormat: 400,
  InvalidApiVersionParameter: 400,
  InvalidAuthenticationToken: 401,
  InvalidAuthenticationTokenAudience: 401,
  InvalidCIDRNotation: 400,
  InvalidFilterInQueryString: 400,
  InvalidLocation: 400,
  InvalidParameter: 400,
  InvalidPrincipalId: 400,
  InvalidRequestContent: 400,
  InvalidRequestFormat: 400,
  InvalidResourceName: 400,
  InvalidResourceReference: 400,
  InvalidResourceType: 404,
  InvalidTemplate: 400,
  InvalidTemplateDeployment: 400,
  LinkedAuthorizationFailed: 403,
  LocationNotAvailableForResourceGroup: 400,
  LockNotFound: 404,
  MissingApiVersionParameter: 400,
  NetcfgInvalidAddressPrefix: 400,
  NetcfgInvalidSubnet: 400,
  NetcfgSubnetRangesOverlap: 400,
  NicInUse: 400,
  NotFound: 404,
  NotSupported: 400,
  OperationNotAllowed: 409,
  OperationNotFound: 404,
  OperationPreempted: 409,
  PlatformImageNotFound: 404,
  PreconditionFailed: 412,
  PrivateIPAddressInReservedRange: 400,
  PrivateIPAddressIsAllocated: 400,
  PrivateIPAddressNotInSubnet: 400,
  PropertyChangeNotAllowed: 400,
  PublicIPAddressCannotBeDeleted: 400,
  PublicIPAddressInUse: 400,
  RequestBodyTooLarge: 413,
  ResourceGroupBeingDeleted: 409,
  ResourceGroupNotFound: 404,
  ResourceNotFound: 404,
  RoleAssignmentExists: 409,
  RoleAssignmentNotFound: 404,
  RoleDefinitionDoesNotExist: 400,
  ScopeLocked: 409,
  SecurityRuleConflict: 400,
  SecurityRuleInvalidAddressPrefix: 400,
  SecurityRuleInvalidPortRange: 400,
  SecurityRuleInvalidPriority: 400,
  SecurityRuleParameterContainsUnsupportedValue: 400,
  ServiceResourceNotEmptyWithContainerDetails: 409,
  ServiceUnavailable: 503,
  SnapshotInstantLost: 409,
  StorageAccountAlreadyTaken: 409,
  SubnetIsFull: 400,
  SubscriptionNotFound: 404,
  TooManyRequests: 429,
  UnsupportedField: 400,
  UserErrorBackupOperationInProgress: 409,
} as const
export type ArmErrorCode = keyof typeof ARM_STATUS_OF
export const ARM_ERROR_CODES = Object.keys(ARM_STATUS_OF) as readonly ArmErrorCode[]

export type ArmErrorBody = Readonly<{
  error: Readonly<{
    code: string
    message: string
    target?: string
    details?: readonly Readonly<{ code: string; message: string; target?: string }>[]
  }>
}>

export type ArmErrorMore = Readonly<{
  status?: number
  /** The field or thing that is wrong: `properties.diskSizeGB`. */
  target?: string
  details?: readonly Readonly<{ code: string; message: string; target?: string }>[]
  cause?: unknown
}>

export class ArmError extends HoldfastError<ArmErrorCode> {
  readonly status: number
  readonly target: string | undefined
  readonly details: ArmErrorMore['details']

  constructor(code: ArmErrorCode, message: string, more: ArmErrorMore = {}) {
    const { status = ARM_STATUS_OF[code], target, details, cause } = more
    const passing = status === 409 || status === 429 || status >= 500
    super(code, message, { facts: { status, target }, retry: passing ? 'later' : 'never', cause })
    this.status = status
    this.target = target
    this.details = details
  }

  get body(): ArmErrorBody {
    const { code, message, target, details } = this
    return {
      error: { code, message, ...(target !== undefined && { target }), ...(details !== undefined && { details }) },
    }
  }
}
