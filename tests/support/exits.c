/* SPDX-License-Identifier: MIT
 * A static program that ends with status 23. */
int main(void)
{
	return 23;
}
