// Program certificates does what cert-manager would with the issuers and certificates of a file of manifests, by
// cert-manager's own code: reads them strictly, and writes each certificate's secret as a folder.
//
//	certificates MANIFESTS.yaml FOLDER    writes FOLDER/NAMESPACE/SECRET/{tls.crt,tls.key,ca.crt}
//
// Other kinds in the file are passed over.
package main

import (
	"bufio"
	"bytes"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	cm "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	"github.com/cert-manager/cert-manager/pkg/util/pki"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"
)

// clusterResources is where the secrets of cluster-wide issuers lie.
const clusterResources = "cert-manager"

type pair struct {
	certificates []*x509.Certificate
	authority    []byte
	key          crypto.Signer
}

type issuing struct {
	folder  string
	issuers map[string]cm.IssuerSpec // by kind/namespace/name
	secrets map[string]pair          // by namespace/name
}

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: certificates MANIFESTS.yaml FOLDER")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "certificates:", err)
		os.Exit(1)
	}
}

func run(manifests, folder string) error {
	text, err := os.ReadFile(manifests)
	if err != nil {
		return err
	}
	state := issuing{folder: folder, issuers: map[string]cm.IssuerSpec{}, secrets: map[string]pair{}}
	var open []*cm.Certificate
	documents := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(text)))
	for {
		document, err := documents.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		certificate, err := state.read(document)
		if err != nil {
			return err
		}
		if certificate != nil {
			open = append(open, certificate)
		}
	}
	// An authority's certificate may come after those it signs.
	for len(open) > 0 {
		var later []*cm.Certificate
		for _, certificate := range open {
			done, err := state.issue(certificate)
			if err != nil {
				return fmt.Errorf("%s/%s: %w", certificate.Namespace, certificate.Name, err)
			}
			if !done {
				later = append(later, certificate)
			}
		}
		if len(later) == len(open) {
			return fmt.Errorf("%s/%s: its issuer has no secret", open[0].Namespace, open[0].Name)
		}
		open = later
	}
	return nil
}

// read takes in an issuer, or returns a certificate.
func (s *issuing) read(document []byte) (*cm.Certificate, error) {
	var kind metav1.PartialObjectMetadata
	if err := yaml.Unmarshal(document, &kind); err != nil {
		return nil, err
	}
	if kind.APIVersion != cm.SchemeGroupVersion.String() {
		return nil, nil
	}
	strictly := func(object any) error {
		if err := yaml.UnmarshalStrict(document, object); err != nil {
			return fmt.Errorf("%s %s: %w", kind.Kind, kind.Name, err)
		}
		return nil
	}
	switch kind.Kind {
	case cm.CertificateKind:
		certificate := new(cm.Certificate)
		return certificate, strictly(certificate)
	case cm.IssuerKind:
		issuer := new(cm.Issuer)
		err := strictly(issuer)
		s.issuers[kind.Kind+"/"+issuer.Namespace+"/"+issuer.Name] = issuer.Spec
		return nil, err
	case cm.ClusterIssuerKind:
		issuer := new(cm.ClusterIssuer)
		err := strictly(issuer)
		s.issuers[kind.Kind+"//"+issuer.Name] = issuer.Spec
		return nil, err
	default:
		return nil, fmt.Errorf("%s is no kind that is known here", kind.Kind)
	}
}

// issue reports false when the issuer's secret is not there yet.
func (s *issuing) issue(certificate *cm.Certificate) (bool, error) {
	reference := certificate.Spec.IssuerRef
	place, secrets := certificate.Namespace, certificate.Namespace
	if reference.Kind == cm.ClusterIssuerKind {
		place, secrets = "", clusterResources
	}
	issuer, known := s.issuers[reference.Kind+"/"+place+"/"+reference.Name]
	if !known {
		return false, fmt.Errorf("no %s %s", reference.Kind, reference.Name)
	}
	template, err := pki.CertificateTemplateFromCertificate(certificate)
	if err != nil {
		return false, err
	}
	key, err := pki.GeneratePrivateKeyForCertificate(certificate)
	if err != nil {
		return false, err
	}
	made := pair{key: key}
	switch {
	case issuer.SelfSigned != nil:
		text, signed, err := pki.SignCertificate(template, template, key.Public(), key)
		if err != nil {
			return false, err
		}
		made.certificates, made.authority = []*x509.Certificate{signed}, text
	case issuer.CA != nil:
		authority, there := s.secrets[secrets+"/"+issuer.CA.SecretName]
		if !there {
			return false, nil
		}
		template.PublicKey = key.Public()
		bundle, err := pki.SignCSRTemplate(authority.certificates, authority.key, template)
		if err != nil {
			return false, err
		}
		if made.certificates, err = pki.DecodeX509CertificateChainBytes(bundle.ChainPEM); err != nil {
			return false, err
		}
		made.authority = bundle.CAPEM
	default:
		return false, errors.New("the issuer is neither self-signed nor an authority")
	}
	s.secrets[certificate.Namespace+"/"+certificate.Spec.SecretName] = made
	return true, s.write(certificate, made)
}

func (s *issuing) write(certificate *cm.Certificate, made pair) error {
	folder := filepath.Join(s.folder, certificate.Namespace, certificate.Spec.SecretName)
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	encoding := cm.PKCS1
	if private := certificate.Spec.PrivateKey; private != nil && private.Encoding != "" {
		encoding = private.Encoding
	}
	key, err := pki.EncodePrivateKey(made.key, encoding)
	if err != nil {
		return err
	}
	chain, err := pki.EncodeX509Chain(made.certificates)
	if err != nil {
		return err
	}
	for file, text := range map[string][]byte{"tls.crt": chain, "tls.key": key, "ca.crt": made.authority} {
		if err := os.WriteFile(filepath.Join(folder, file), text, 0o644); err != nil {
			return err
		}
	}
	return nil
}
